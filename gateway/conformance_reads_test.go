package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/delivery"
)

// members are the names in a JSON object, sorted.
func members(t *testing.T, raw []byte) string {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		t.Fatalf("no object: %s", raw)
	}
	return strings.Join(sortedKeys(object), " ")
}

func TestB044AStatusHasItsMembersAndNoEmptyOnes(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	sent := p.alice.Send(p.bob.Address, `{}`)
	path := "/v1/messages/" + sent.MessageID + "/status"
	look := func() (status, recipient string) {
		raw := p.alice.Do(http.MethodGet, path, nil).Want(http.StatusOK).Body
		var list struct{ Recipients []json.RawMessage }
		if err := json.Unmarshal(raw, &list); err != nil || len(list.Recipients) != 1 {
			t.Fatalf("%s", raw)
		}
		return members(t, raw), members(t, list.Recipients[0])
	}
	status, recipient := look()
	if want := "attempts created_at delivered_at message_id recipients sender_verification status updated_at"; status != want {
		t.Errorf("got  %s\nwant %s", status, want)
	}
	const first = "address attempts delivery_mode inbox_delivered local_delivery status timestamp"
	if recipient != first {
		t.Errorf("got  %s\nwant %s", recipient, first)
	}
	p.bob.Ack(sent.MessageID).Want(http.StatusOK)
	if _, recipient = look(); recipient != "acknowledged acknowledged_at "+first {
		t.Errorf("after the ack: got %s", recipient)
	}
	var st amtp.MessageStatus
	answer := p.alice.Do(http.MethodGet, path, nil)
	answer.Into(&st)
	if r := st.Recipients[0]; st.Status != amtp.Delivered || !r.Acknowledged || r.AcknowledgedAt == nil || r.DeliveryMode != amtp.ModePull || strings.Contains(string(answer.Body), "+") {
		t.Errorf("got %s", answer.Body)
	}
}

// quick makes tries follow one another within a test's patience.
func quick(c *gateway.Config) {
	c.Delivery = delivery.Limits{MinRetry: time.Millisecond, MaxRetry: 20 * time.Millisecond, MinPause: time.Millisecond, MaxPause: 5 * time.Millisecond, Poll: 50 * time.Millisecond}
}

// toPeer starts a.test with a record for x.test that leads to the peer.
func toPeer(t *testing.T, peer *peerServer, change ...func(*gateway.Config)) pair {
	t.Helper()
	return newPair(t, func(c *gateway.Config) {
		knows(map[string]string{"x.test": "v=amtp1;gateway=" + peer.URL})(c)
		for _, f := range change {
			f(c)
		}
	})
}

// failing answers a status so many times, and then as a gateway that delivers.
func failing(times, status int) func(int, http.ResponseWriter, *http.Request, []byte) {
	return func(n int, w http.ResponseWriter, r *http.Request, body []byte) {
		if n <= times {
			w.WriteHeader(status)
			return
		}
		accepts(http.StatusOK, amtp.Delivered)(n, w, r, body)
	}
}

func TestB045AttemptsAreThoseThatWereMade(t *testing.T) {
	t.Parallel()
	peer := newPeer(t, failing(2, http.StatusInternalServerError))
	p := toPeer(t, peer, quick)
	st := p.alice.Settled(p.alice.Send("u@x.test", `{}`).MessageID)
	if made := len(peer.requests()); made != 3 || st.Attempts != 3 || st.Recipients[0].Attempts != 3 {
		t.Errorf("%d requests, status %+v", made, st)
	}
}

func TestB046AfterSuccessNoErrorIsTold(t *testing.T) {
	t.Parallel()
	p := toPeer(t, newPeer(t, failing(1, http.StatusInternalServerError)), quick)
	st := p.alice.Settled(p.alice.Send("u@x.test", `{}`).MessageID)
	if r := st.Recipients[0]; st.Status != amtp.Delivered || r.ErrorCode != "" || r.ErrorMessage != "" || r.NextRetry != nil || st.NextRetry != nil {
		t.Errorf("got %+v", st)
	}
}

func TestB047WhileRetryingTheNextTryIsTold(t *testing.T) {
	t.Parallel()
	p := toPeer(t, newPeer(t, answers(http.StatusServiceUnavailable)), func(c *gateway.Config) {
		c.Delivery = delivery.Limits{MinRetry: time.Hour, MaxRetry: time.Hour}
	})
	id := p.alice.Send("u@x.test", `{}`).MessageID
	var st amtp.MessageStatus
	eventually(t, "it is tried again", func() bool { st = p.alice.Status(id); return st.Status == amtp.Retrying })
	if r := st.Recipients[0]; st.NextRetry == nil || r.NextRetry == nil || r.ErrorCode != amtp.CodeServerError || r.ErrorMessage == "" || r.Attempts != 1 {
		t.Errorf("got %+v", st)
	}
}

func TestB048UnknownIDsAreNotFoundAndMalformedOnesRefused(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for _, tail := range []string{"", "/status"} {
		refused(t, "unknown", p.alice.Do(http.MethodGet, "/v1/messages/"+someID+tail, nil), http.StatusNotFound, amtp.CodeMessageNotFound)
		for _, id := range []string{"not-a-uuid", someKey, someID[:35] + "g"} {
			refused(t, id, p.alice.Do(http.MethodGet, "/v1/messages/"+id+tail, nil), http.StatusBadRequest, amtp.CodeInvalidMessageID)
		}
	}
}

// listing is an answer to GET /v1/messages.
type listing struct {
	Messages []struct {
		MessageID string `json:"message_id"`
		Sender    string
		Status    amtp.State
		Delivery  amtp.MessageStatus
		Payload   json.RawMessage
	}
	Total, Limit, Offset int
}

func TestB049MessagesAreListed(t *testing.T) {
	t.Parallel()
	time := newClock()
	p := newPair(t, func(c *gateway.Config) { c.Clock = time.Now })
	var ids []string
	for i := range 3 {
		time.forward(1e9)
		ids = append(ids, p.alice.Send(p.bob.Address, fmt.Sprint(i)).MessageID)
	}
	middle := time.Now()
	time.forward(1e9)
	ids = append(ids, p.bob.Send(p.alice.Address, `3`).MessageID)
	time.forward(1e9)
	ids = append(ids, taken(t, p.alice.Post(to("ghost@a.test"))).MessageID)
	for query, want := range map[string][]string{
		"":                                    {ids[4], ids[3], ids[2], ids[1], ids[0]},
		"?limit=2":                            {ids[4], ids[3]},
		"?limit=2&offset=3":                   {ids[1], ids[0]},
		"?offset=9":                           nil,
		"?status=failed":                      {ids[4]},
		"?status=delivered&limit=1":           {ids[3]},
		"?sender=bob@a.test":                  {ids[3]},
		"?recipient=bob@A.test":               {ids[2], ids[1], ids[0]},
		"?recipient=bob@a.test&status=failed": nil,
		"?since=" + url.QueryEscape(middle.UTC().Format("2006-01-02T15:04:05.999999999Z07:00")): {ids[4], ids[3], ids[2]},
	} {
		var got listing
		p.Admin(http.MethodGet, "/v1/messages"+query, nil).Want(http.StatusOK).Into(&got)
		var found []string
		for _, x := range got.Messages {
			found = append(found, x.MessageID)
			if x.Status == "" || x.Delivery.MessageID != x.MessageID || x.Sender == "" || x.Payload == nil {
				t.Errorf("%s: got %+v", query, x)
			}
		}
		if !slices.Equal(found, want) || got.Total < len(found) || got.Messages == nil {
			t.Errorf("%s: got %v of %d, want %v", query, found, got.Total, want)
		}
	}
	for query, code := range map[string]amtp.Code{
		"limit=0": amtp.CodeInvalidLimit, "limit=1001": amtp.CodeInvalidLimit, "limit=x": amtp.CodeInvalidLimit,
		"offset=-1": amtp.CodeInvalidOffset, "since=yesterday": amtp.CodeInvalidSinceFormat, "status=lost": amtp.CodeInvalidStatus,
		"sender=nope": amtp.CodeInvalidSender, "recipient=nope": amtp.CodeInvalidRecipient,
	} {
		refused(t, query, p.Admin(http.MethodGet, "/v1/messages?"+query, nil), http.StatusBadRequest, code)
	}
}

func TestB050OthersMessagesAreNotThere(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	carol := p.Register("carol")
	id := p.alice.Send(p.bob.Address, `{}`).MessageID
	for _, tail := range []string{"", "/status"} {
		path := "/v1/messages/" + id + tail
		refused(t, "another agent", carol.Do(http.MethodGet, path, nil), http.StatusNotFound, amtp.CodeMessageNotFound)
		refused(t, "nobody", p.Do(http.MethodGet, path, nil), http.StatusUnauthorized, amtp.CodeMissingAuthorization)
		p.alice.Do(http.MethodGet, path, nil).Want(http.StatusOK)
		p.bob.Do(http.MethodGet, path, nil).Want(http.StatusOK)
		p.Admin(http.MethodGet, path, nil).Want(http.StatusOK)
	}
	var list listing
	carol.Do(http.MethodGet, "/v1/messages", nil).Want(http.StatusOK).Into(&list)
	if len(list.Messages) != 0 || list.Total != 0 {
		t.Errorf("carol's list: %+v", list)
	}

	p = newPair(t, func(c *gateway.Config) { c.PublicReads = true })
	p.Do(http.MethodGet, "/v1/messages/"+p.alice.Send(p.bob.Address, `{}`).MessageID+"/status", nil).Want(http.StatusOK)
}

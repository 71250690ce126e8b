package gateway_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/gatewaytest"
)

// payload is a message's body with a text in it.
func message(to ...string) map[string]any {
	return map[string]any{"recipients": to, "subject": "s", "payload": map[string]any{"n": 1}}
}

func result(t *testing.T, a gatewaytest.Answer) amtp.SendResult {
	t.Helper()
	var res amtp.SendResult
	a.Into(&res)
	return res
}

// A message to an agent that fetches is in its inbox with the answer.
func TestLocalMessageIsInTheInboxWithTheAnswer(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	ann, bob := g.Register("ann"), g.Register("bob")
	res := result(t, ann.Post(message(bob.Address)).Want(http.StatusOK))
	if res.Status != amtp.Delivered || len(res.Recipients) != 1 || !res.Recipients[0].InboxDelivered || !res.Recipients[0].LocalDelivery {
		t.Errorf("got %+v", res)
	}
	in := bob.Inbox()
	if len(in) != 1 || in[0].MessageID != res.MessageID || in[0].Sender != ann.Address || string(in[0].Payload) != `{"n":1}` {
		t.Errorf("the inbox has %+v", in)
	}
}

// Checklist 41 and 43: every recipient has its own result, and the good one gets the message once.
func TestOneGoodOneUnknownRecipient(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	ann, bob := g.Register("ann"), g.Register("bob")
	res := result(t, ann.Post(message(bob.Address, "nobody@a.test")).Want(http.StatusBadRequest))
	if len(res.Recipients) != 2 || res.Recipients[0].Status != amtp.Delivered || res.Recipients[1].Status != amtp.Failed ||
		res.Recipients[1].ErrorCode != amtp.CodeAgentUnknown {
		t.Errorf("got %+v", res.Recipients)
	}
	if in := bob.Inbox(); len(in) != 1 {
		t.Errorf("%d messages in the inbox, want 1", len(in))
	}
}

func TestUnknownNameIsKeptWhereTheOperatorWantsThat(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.TakeUnknown = true }, "a.test").At("a.test")
	res := result(t, g.Register("ann").Post(message("later@a.test")).Want(http.StatusOK))
	if res.Recipients[0].Status != amtp.Delivered {
		t.Errorf("got %+v", res.Recipients)
	}
}

// Checklist 33 and 42: recipients count once, and our domain and names have no case.
func TestRecipientsCollapse(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	ann, bob := g.Register("ann"), g.Register("bob")
	res := result(t, ann.Post(message("bob@a.test", "bob@A.TEST", "BOB@a.test")).Want(http.StatusOK))
	if len(res.Recipients) != 1 || len(bob.Inbox()) != 1 {
		t.Errorf("%d recipients and %d messages, want 1 and 1", len(res.Recipients), len(bob.Inbox()))
	}
}

// Promise row 13: the answer has the reply in it, and is 200 for it.
func TestAnswerHasTheReplyThatTheClientWaitsFor(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.StatusCodes = gateway.AsSpec }, "a.test").At("a.test")
	ann, bob := g.Register("ann"), g.Register("bob")
	id := amtp.NewMessageID(time.Now())
	asked := message(bob.Address)
	asked["message_id"] = id
	got := make(chan gatewaytest.Answer, 1)
	go func() { got <- ann.Post(asked, "Prefer", "respond-async, wait=20") }()
	// Bob answers a message of which he need not have heard: so it comes before or after.
	answer := message(ann.Address)
	answer["in_reply_to"], answer["payload"] = id, "the reply"
	bob.Post(answer).Want(http.StatusAccepted)
	a := (<-got).Want(http.StatusOK)
	var reply struct{ Payload json.RawMessage }
	if err := json.Unmarshal(result(t, a).Reply, &reply); err != nil || string(reply.Payload) != `"the reply"` {
		t.Errorf("reply %s, %v", result(t, a).Reply, err)
	}
	if a.Header.Get("Preference-Applied") != "wait=20" {
		t.Errorf("Preference-Applied: %q", a.Header.Get("Preference-Applied"))
	}
}

// Promise row 13: a recipient whose copy went out under an id of its own replies to that.
func TestReplyToACopyIsTheReply(t *testing.T) {
	t.Parallel()
	other := gatewaytest.StartAgentry(t, "b.test")
	g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.Discovery.MockRecords["b.test"] = other.Record() }, "a.test").At("a.test")
	ann, bob := g.Register("ann"), g.Register("bob")
	id := amtp.NewMessageID(time.Now())
	asked := message("dan@b.test", "eve@b.test")
	asked["message_id"] = id
	got := make(chan gatewaytest.Answer, 1)
	go func() { got <- ann.Post(asked, "Prefer", "wait=20") }()
	answer := message(ann.Address)
	answer["in_reply_to"], _ = amtp.ForRecipient(id, "eve@b.test")
	answer["payload"] = "the reply"
	bob.Post(answer).Want(http.StatusOK)
	var reply struct{ Payload json.RawMessage }
	a := (<-got).Want(http.StatusOK)
	if err := json.Unmarshal(result(t, a).Reply, &reply); err != nil || string(reply.Payload) != `"the reply"` {
		t.Errorf("reply %s, %v", result(t, a).Reply, err)
	}
}

// Promise row 13: an agent that is pushed to can reply in its answer.
func TestAnswerHasTheReplyOfAPushTarget(t *testing.T) {
	t.Parallel()
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":"accepted","response":{"ok":true}}`)
	}))
	defer hook.Close()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	ann, bob := g.Register("ann"), g.Register("bob", "delivery_mode", "push", "push_target", hook.URL)
	var reply struct {
		Payload json.RawMessage
		Sender  string
	}
	if err := json.Unmarshal(result(t, ann.Post(message(bob.Address), "Prefer", "wait=20").Want(http.StatusOK)).Reply, &reply); err != nil {
		t.Fatal(err)
	}
	if string(reply.Payload) != `{"ok":true}` || reply.Sender != bob.Address {
		t.Errorf("reply %+v", reply)
	}
}

// The answer tells what the other gateway said where there is time for that, and else that
// the message is on its way: a peer that does not answer holds up nobody.
func TestAnswerDoesNotWaitForPeersUnlessItMay(t *testing.T) {
	t.Parallel()
	called, release := make(chan struct{}, 1), make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		called <- struct{}{}
		<-release
	}))
	defer silent.Close()
	defer close(release)
	n := gatewaytest.StartWith(t, func(c *gateway.Config) {
		if c.Domain == "b.test" {
			c.RemoteWait = 20 * time.Second
			return
		}
		c.Discovery.MockRecords["silent.test"] = "v=amtp1;gateway=" + silent.URL
		c.Delivery.Drain = time.Millisecond
	}, "a.test", "b.test")
	ann, bob := n.At("a.test").Register("ann"), n.At("b.test").Register("bob")
	if res := result(t, ann.Post(message("x@silent.test")).Want(http.StatusAccepted)); res.Recipients[0].Status != amtp.Queued {
		t.Errorf("got %+v", res.Recipients)
	}
	<-called
	if res := result(t, bob.Post(message("x@nowhere.test")).Want(http.StatusBadRequest)); res.Recipients[0].ErrorCode != amtp.CodeDiscoveryFailed {
		t.Errorf("got %+v", res.Recipients)
	}
	if res := result(t, bob.Post(message(ann.Address)).Want(http.StatusOK)); res.Recipients[0].Status != amtp.Delivered {
		t.Errorf("got %+v", res.Recipients)
	}
}

// Who asks for more than may be waited for hears how much it is.
func TestPreferenceIsAppliedAsFarAsItMay(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	ann, bob := g.Register("ann"), g.Register("bob")
	sent := ann.Send(bob.Address, `{}`)
	got := ann.Do(http.MethodGet, "/v1/messages/"+sent.MessageID+"/status", nil, "Prefer", "wait=3600").Want(http.StatusOK)
	if applied := got.Header.Get("Preference-Applied"); applied != "wait=25" {
		t.Errorf("Preference-Applied: %q", applied)
	}
}

// Without anybody left who could reply nothing is waited for.
func TestNoWaitForAReplyOfNobody(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartWith(t, func(c *gateway.Config) {
		c.Limits = gateway.DefaultLimits()
		c.Limits.ReplyWait, c.Limits.WriteWait = time.Hour, 2*time.Hour
	}, "a.test").At("a.test")
	ann := g.Register("ann")
	ann.Post(message("nobody@a.test"), "Prefer", "wait=3600").Want(http.StatusBadRequest)
}

// Promise row 12: 202 always where the specification is followed, and 200 with a reply only.
func TestStatusCodesOfTheSpecification(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.StatusCodes = gateway.AsSpec }, "a.test").At("a.test")
	ann, bob := g.Register("ann"), g.Register("bob")
	ann.Post(message(bob.Address)).Want(http.StatusAccepted)
	ann.Post(message("nobody@a.test")).Want(http.StatusAccepted)
}

// Checklist 50: to others a message is as unknown as one that there is not.
func TestMessagesOfOthersAreUnknown(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	ann, bob, eve := g.Register("ann"), g.Register("bob"), g.Register("eve")
	id := ann.Send(bob.Address, `1`).MessageID
	for _, path := range []string{"", "/status", "/attempts"} {
		path = "/v1/messages/" + id + path
		ann.Do(http.MethodGet, path, nil).Want(http.StatusOK)
		bob.Do(http.MethodGet, path, nil).Want(http.StatusOK)
		g.Admin(http.MethodGet, path, nil).Want(http.StatusOK)
		if got := eve.Do(http.MethodGet, path, nil).Want(http.StatusNotFound); got.Code() != amtp.CodeMessageNotFound {
			t.Errorf("%s: %s", path, got.Code())
		}
		g.Do(http.MethodGet, path, nil).Want(http.StatusUnauthorized)
	}
	var list struct{ Total int }
	eve.Do(http.MethodGet, "/v1/messages?sender=ann@a.test", nil).Want(http.StatusOK).Into(&list)
	if list.Total != 0 {
		t.Errorf("a stranger lists %d messages", list.Total)
	}
}

// An agent is one sender in whatever case it writes its name: it finds what it sent, and its keys
// are the same.
func TestSenderIsTheAgentInEveryCase(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	ann, bob := g.Register("ann"), g.Register("bob")
	message := map[string]any{"recipients": []string{bob.Address}, "payload": 1, "idempotency_key": "0d4f1a52-7b0e-4c19-9a53-6f3c1f0a7a11"}
	for _, sender := range []string{"ANN@a.test", "ann@A.test", "Ann@a.test."} {
		message["sender"] = sender
		ann.Post(message).Want(http.StatusOK)
	}
	if got := bob.Inbox(); len(got) != 1 || got[0].Sender != ann.Address {
		t.Errorf("bob has %+v", got)
	}
	var list struct{ Total int }
	ann.Do(http.MethodGet, "/v1/messages", nil).Want(http.StatusOK).Into(&list)
	if list.Total != 1 {
		t.Errorf("ann lists %d messages", list.Total)
	}
}

// A page of long messages, or of messages to many, ends early and says where the next begins:
// whoever lists its own cannot fill the memory.
func TestListOfLongMessagesComesInPages(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.Inbox.Bytes = 64 << 10 }, "a.test").At("a.test")
	ann := g.Register("ann")
	crowd := make([]string, 200)
	for i := range crowd {
		crowd[i] = "nobody" + strconv.Itoa(i) + "@a.test"
	}
	const sent = 10
	for i := range sent {
		if i%2 == 0 {
			ann.Send(ann.Address, `"`+strings.Repeat("x", 40<<10)+`"`)
			continue
		}
		ann.Post(map[string]any{"recipients": crowd, "payload": i})
	}
	ids, offset := map[string]bool{}, 0
	for offset < sent {
		var page struct {
			Messages     []gatewaytest.Message
			Total, Limit int
		}
		ann.Do(http.MethodGet, "/v1/messages?limit=1000&offset="+strconv.Itoa(offset), nil).Want(http.StatusOK).Into(&page)
		if n := len(page.Messages); n == 0 || n > 2 || page.Total != sent {
			t.Fatalf("%d messages of %d at %d", n, page.Total, offset)
		}
		for _, m := range page.Messages {
			ids[m.MessageID] = true
		}
		offset += page.Limit
	}
	if len(ids) != sent {
		t.Errorf("%d messages of %d", len(ids), sent)
	}
}

// With public reads whoever knows an id reads, and nobody lists.
func TestPublicReadsAreOfIDsOnly(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.PublicReads = true }, "a.test").At("a.test")
	ann := g.Register("ann")
	id := ann.Send(ann.Address, `1`).MessageID
	g.Do(http.MethodGet, "/v1/messages/"+id+"/status", nil).Want(http.StatusOK)
	got := g.Do(http.MethodGet, "/v1/messages", nil).Want(http.StatusOK)
	if string(got.Body) != `{"messages":[],"total":0,"limit":100,"offset":0}` {
		t.Errorf("got %s", got.Body)
	}
}

// Checklist 49: newest first, with where they are, filtered and in pages.
func TestList(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	ann, bob := g.Register("ann"), g.Register("bob")
	var ids []string
	for _, to := range []string{bob.Address, ann.Address, bob.Address} {
		ids = append(ids, ann.Send(to, `1`).MessageID)
	}
	type item struct {
		MessageID string `json:"message_id"`
		Sender    string
		Status    amtp.State
		Delivery  amtp.MessageStatus
	}
	var got struct {
		Messages             []item
		Total, Limit, Offset int
	}
	ann.Do(http.MethodGet, "/v1/messages?recipient=bob@a.test&status=delivered&limit=1&offset=1", nil).Want(http.StatusOK).Into(&got)
	if got.Total != 2 || got.Limit != 1 || got.Offset != 1 || len(got.Messages) != 1 {
		t.Fatalf("got %+v", got)
	}
	if m := got.Messages[0]; m.MessageID != ids[0] || m.Sender != ann.Address || m.Status != amtp.Delivered || m.Delivery.MessageID != ids[0] {
		t.Errorf("got %+v, want the oldest", m)
	}
	for query, code := range map[string]amtp.Code{
		"limit=0": amtp.CodeInvalidLimit, "limit=1001": amtp.CodeInvalidLimit, "limit=x": amtp.CodeInvalidLimit,
		"offset=-1": amtp.CodeInvalidOffset, "since=yesterday": amtp.CodeInvalidSinceFormat, "status=lost": amtp.CodeInvalidStatus,
		"sender=x": amtp.CodeInvalidSender, "recipient=x": amtp.CodeInvalidRecipient,
	} {
		if a := ann.Do(http.MethodGet, "/v1/messages?"+query, nil).Want(http.StatusBadRequest); a.Code() != code {
			t.Errorf("%s: %s", query, a.Code())
		}
	}
}

// Foreign senders reach our agents only, and coordination is not ours yet.
func TestWhatIsNotTaken(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	ann := g.Register("ann")
	coordinated := message(ann.Address)
	coordinated["coordination"] = map[string]any{"type": "parallel", "timeout": 5, "required_responses": []string{ann.Address}}
	foreign := message("x@c.test")
	foreign["sender"] = "y@b.test"
	for _, c := range []struct {
		name    string
		message map[string]any
		headers []string
		status  int
		code    amtp.Code
	}{
		{"coordination", coordinated, nil, http.StatusBadRequest, amtp.CodeUnsupportedCoordination},
		{"other version in the header", message(ann.Address), []string{"X-AMTP-Version", "9.9"}, http.StatusBadRequest, amtp.CodeUnsupportedVersion},
	} {
		if a := ann.Post(c.message, c.headers...).Want(c.status); a.Code() != c.code {
			t.Errorf("%s: %s", c.name, a.Code())
		}
	}
	if a := g.Do(http.MethodPost, "/v1/messages", foreign).Want(http.StatusForbidden); a.Code() != amtp.CodeRelayUnsupported {
		t.Errorf("relay: %s", a.Code())
	}
}

// Checklist 23 and T82: a key belongs to one content, an id to one message.
func TestConflicts(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	ann, bob, eve := g.Register("ann"), g.Register("bob"), g.Register("eve")
	first := message(bob.Address)
	first["message_id"], first["idempotency_key"] = amtp.NewMessageID(time.Now()), amtp.NewKey()
	ann.Post(first).Want(http.StatusOK)
	if res := result(t, ann.Post(first).Want(http.StatusOK)); res.MessageID != first["message_id"] {
		t.Errorf("the repeated message has id %s", res.MessageID)
	}
	other := message(bob.Address)
	other["idempotency_key"], other["payload"] = first["idempotency_key"], "other"
	if a := ann.Post(other).Want(http.StatusConflict); a.Code() != amtp.CodeIdempotencyConflict {
		t.Errorf("same key, other content: %s", a.Code())
	}
	taken := message(bob.Address)
	taken["message_id"] = first["message_id"]
	if a := eve.Post(taken).Want(http.StatusConflict); a.Code() != amtp.CodeMessageIDConflict {
		t.Errorf("same id, other sender: %s", a.Code())
	}
	if in := bob.Inbox(); len(in) != 1 {
		t.Errorf("%d messages in the inbox, want 1", len(in))
	}
}

// A message crosses from one gateway to another, to two agents there in one go.
func TestMessageCrossesDomains(t *testing.T) {
	t.Parallel()
	n := gatewaytest.Start(t, "a.test", "b.test")
	ann, bob, eve := n.At("a.test").Register("ann"), n.At("b.test").Register("bob"), n.At("b.test").Register("eve")
	res := result(t, ann.Post(message(bob.Address, eve.Address)).Want(http.StatusAccepted))
	if st := ann.Settled(res.MessageID); st.Status != amtp.Delivered {
		t.Fatalf("got %+v", st)
	}
	for _, to := range []*gatewaytest.Agent{bob, eve} {
		if in := to.Inbox(); len(in) != 1 || in[0].MessageID != res.MessageID {
			t.Errorf("%s has %+v", to.Address, in)
		}
	}
}

// What was accepted is there after a restart.
func TestRestartKeepsWhatWasAccepted(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	ann, bob := g.Register("ann"), g.Register("bob")
	id := ann.Send(bob.Address, `1`).MessageID
	g.Stop()
	g.Start()
	if in := bob.Inbox(); len(in) != 1 || in[0].MessageID != id {
		t.Errorf("the inbox has %+v", in)
	}
}

package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/gatewaytest"
)

// inboxPage is a page of an inbox.
type inboxPage struct {
	Recipient    string                `json:"recipient"`
	Messages     []gatewaytest.Message `json:"messages"`
	Count        int                   `json:"count"`
	MessageCount int                   `json:"message_count"`
	HasMore      bool                  `json:"has_more"`
	Next         string                `json:"next"`
}

func pageOf(a *gatewaytest.Agent, query string) inboxPage {
	var p inboxPage
	a.Do(http.MethodGet, "/v1/inbox/"+a.Address+"?"+query, nil).Want(http.StatusOK).Into(&p)
	return p
}

// Checklist 58: an inbox is its agent's, and nobody else learns even that it exists.
func TestInboxIsItsAgents(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	alice, bob := g.Register("alice"), g.Register("bob")
	sent := alice.Send(bob.Address, `{}`)
	for _, c := range []struct {
		name, path string
		headers    []string
		status     int
		code       amtp.Code
	}{
		{"no header", bob.Address, nil, http.StatusUnauthorized, amtp.CodeMissingAuthorization},
		{"an empty bearer", bob.Address, []string{"Authorization", "Bearer "}, http.StatusUnauthorized, amtp.CodeMissingAuthorization},
		{"another scheme", bob.Address, []string{"Authorization", "Basic abc"}, http.StatusUnauthorized, amtp.CodeMissingAuthorization},
		{"a wrong key", bob.Address, []string{"Authorization", "Bearer nope"}, http.StatusForbidden, amtp.CodeAccessDenied},
		{"another agent's key", bob.Address, []string{"Authorization", "Bearer " + alice.Key}, http.StatusForbidden, amtp.CodeAccessDenied},
		{"the admin key", bob.Address, []string{"Authorization", "Bearer " + gatewaytest.AdminKey}, http.StatusForbidden, amtp.CodeAccessDenied},
		{"an agent that there is not", "ghost@a.test", []string{"Authorization", "Bearer " + bob.Key}, http.StatusForbidden, amtp.CodeAccessDenied},
		{"a bare name", "bob", []string{"Authorization", "Bearer " + bob.Key}, http.StatusForbidden, amtp.CodeAccessDenied},
		{"its name elsewhere", "bob@b.test", []string{"Authorization", "Bearer " + bob.Key}, http.StatusForbidden, amtp.CodeAccessDenied},
		{"no address", "bob@", []string{"Authorization", "Bearer " + bob.Key}, http.StatusForbidden, amtp.CodeAccessDenied},
	} {
		for _, to := range []struct{ method, path string }{
			{http.MethodGet, "/v1/inbox/" + c.path}, {http.MethodDelete, "/v1/inbox/" + c.path + "/" + sent.MessageID},
		} {
			got := g.Do(to.method, to.path, nil, c.headers...)
			if (got.Status == http.StatusUnauthorized) != (got.Header.Get("WWW-Authenticate") == "Bearer") {
				t.Errorf("%s: %v", c.name, got.Header)
			}
			if got.Status != c.status || got.Code() != c.code || got.Error().Details["agent"] != c.path {
				t.Errorf("%s, %s: %d %s", c.name, to.method, got.Status, got.Body)
			}
		}
	}
	if n := len(bob.Inbox()); n != 1 {
		t.Errorf("%d messages are left", n)
	}
	bob.Do(http.MethodGet, "/v1/inbox/BOB@A.TEST", nil).Want(http.StatusOK)
	g.Do(http.MethodGet, "/v1/inbox/"+bob.Address, nil, "X-API-Key", bob.Key).Want(http.StatusOK)
	g.Do(http.MethodGet, "/v1/inbox/"+bob.Address, nil, "X-API-Key", alice.Key).Want(http.StatusForbidden)
}

// Checklist 59: what an empty inbox looks like.
func TestEmptyInbox(t *testing.T) {
	for asNull, want := range map[bool]string{
		false: `{"recipient":"bob@a.test","messages":[],"count":0,"message_count":0,"has_more":false}`,
		true:  `{"recipient":"bob@a.test","messages":null,"count":0,"message_count":0,"has_more":false}`,
	} {
		g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.Inbox.EmptyIsNull = asNull }, "a.test").At("a.test")
		bob := g.Register("bob")
		if got := bob.Do(http.MethodGet, "/v1/inbox/"+bob.Address, nil).Want(http.StatusOK); string(got.Body) != want {
			t.Errorf("%s", got.Body)
		}
	}
}

// Checklist 60 and 61: oldest first, page after page, each message once, whatever arrives
// or is acknowledged meanwhile.
func TestInboxIsReadInOrderAndPages(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	alice, bob := g.Register("alice"), g.Register("bob")
	var ids []string
	for i := range 25 {
		ids = append(ids, alice.Send(bob.Address, fmt.Sprint(i)).MessageID)
	}
	all := pageOf(bob, "")
	if all.Count != 25 || all.MessageCount != 25 || all.HasMore || all.Next != "" {
		t.Errorf("%d, %d, more %v", all.Count, all.MessageCount, all.HasMore)
	}
	for i, m := range all.Messages {
		if m.MessageID != ids[i] {
			t.Fatalf("message %d is %s", i, m.Payload)
		}
	}
	var got []string
	query := "limit=10"
	for {
		p := pageOf(bob, query)
		for _, m := range p.Messages {
			got = append(got, m.MessageID)
		}
		if !p.HasMore {
			break
		}
		if p.Count != 10 || p.Next != got[len(got)-1] {
			t.Fatalf("%d messages, next %s", p.Count, p.Next)
		}
		if len(got) == 10 { // what was read is acknowledged, and the cursor's message too
			bob.Ack(got[0]).Want(http.StatusOK)
			bob.Ack(got[9]).Want(http.StatusOK)
			ids = append(ids, alice.Send(bob.Address, `"late"`).MessageID)
		}
		query = "limit=10&after=" + p.Next
	}
	if strings.Join(got, " ") != strings.Join(ids, " ") {
		t.Errorf("read\n%v, want\n%v", got, ids)
	}
	if p := pageOf(bob, "offset=20&limit=3"); p.Count != 3 || p.Messages[0].MessageID != ids[22] || !p.HasMore {
		t.Errorf("by offset: %d, %v", p.Count, p.HasMore)
	}
	if p := pageOf(bob, "offset=100"); p.Count != 0 || p.HasMore {
		t.Errorf("beyond the end: %d, %v", p.Count, p.HasMore)
	}
}

func TestInboxSince(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	alice, bob := g.Register("alice"), g.Register("bob")
	first := alice.Send(bob.Address, `1`)
	since := alice.Status(first.MessageID).CreatedAt.Add(time.Microsecond)
	alice.Send(bob.Address, `2`)
	if p := pageOf(bob, "since="+url.QueryEscape(since.Format(time.RFC3339Nano))); p.Count != 1 || string(p.Messages[0].Payload) != "2" {
		t.Errorf("%+v", p)
	}
	if p := pageOf(bob, "since="+url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339))); p.Count != 0 {
		t.Errorf("%+v", p)
	}
	for query, want := range map[string]amtp.Code{
		"limit=0": amtp.CodeInvalidLimit, "limit=1001": amtp.CodeInvalidLimit, "limit=x": amtp.CodeInvalidLimit,
		"offset=-1": amtp.CodeInvalidOffset, "offset=x": amtp.CodeInvalidOffset, "since=yesterday": amtp.CodeInvalidSinceFormat, "after=x": amtp.CodeInvalidMessageID,
	} {
		if got := bob.Do(http.MethodGet, "/v1/inbox/"+bob.Address+"?"+query, nil).Want(http.StatusBadRequest); got.Code() != want {
			t.Errorf("%s: %s", query, got.Body)
		}
	}
	// Whether others have had a message it does not tell.
	other := alice.Send(alice.Address, `{}`).MessageID
	unknown := amtp.NewMessageID(time.Now())
	for _, id := range []string{unknown, other} {
		got := bob.Do(http.MethodGet, "/v1/inbox/"+bob.Address+"?after="+id, nil).Want(http.StatusNotFound).Error()
		if got.Code != amtp.CodeMessageNotFound || len(got.Details) > 0 || !strings.HasPrefix(got.Message, "after: this inbox has had no such message") {
			t.Errorf("%+v", got)
		}
	}
}

// Long messages come in as many pages as they need, and none is left out.
func TestInboxOfLongMessagesComesInPages(t *testing.T) {
	g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.Inbox.Bytes = 64 << 10 }, "a.test").At("a.test")
	alice, bob := g.Register("alice"), g.Register("bob")
	payload := `"` + strings.Repeat("x", 12<<10) + `"`
	for range 20 { // what begins a page says nothing of what follows
		alice.Send(bob.Address, `"short"`)
	}
	for range 30 {
		alice.Send(bob.Address, payload)
	}
	alice.Send(bob.Address, `"short"`)
	seen, query := 0, ""
	for pages := 1; ; pages++ {
		got := bob.Do(http.MethodGet, "/v1/inbox/"+bob.Address+query, nil).Want(http.StatusOK)
		if len(got.Body) > 80<<10 {
			t.Fatalf("an answer of %d bytes", len(got.Body))
		}
		var p inboxPage
		got.Into(&p)
		if seen += p.Count; !p.HasMore {
			if pages < 4 || seen != 51 {
				t.Errorf("%d messages on %d pages", seen, pages)
			}
			return
		}
		query = "?after=" + p.Next
	}
}

// Answers that nobody takes off the wire fill no more memory than bodies may.
func TestPagesThatAreBeingReadAreBounded(t *testing.T) {
	g := gatewaytest.StartWith(t, func(c *gateway.Config) {
		c.Limits = gateway.DefaultLimits()
		c.Limits.MessageBytes, c.Limits.BodiesBytes, c.Limits.BodiesPerAddress = 64<<10, 128<<10, 128<<10
	}, "a.test").At("a.test")
	alice := g.Register("alice")
	for range 3 {
		alice.Send(alice.Address, `"`+strings.Repeat("x", 50<<10)+`"`)
	}
	for _, path := range []string{"/v1/inbox/" + alice.Address, "/v1/messages"} {
		if got := alice.Do(http.MethodGet, path, nil); got.Status != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
			t.Errorf("%s: more than there is room for: %d", path, got.Status)
		}
		alice.Do(http.MethodGet, path+"?limit=2", nil).Want(http.StatusOK)
	}
}

// Checklist 62 and 63: what is acknowledged is out of this inbox, and of no other.
func TestAcknowledgedMessagesAreGoneOnce(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	alice, bob, carol := g.Register("alice"), g.Register("bob"), g.Register("carol")
	var sent amtp.SendResult
	alice.Post(map[string]any{"recipients": []string{bob.Address, carol.Address}, "payload": 1}).Want(http.StatusOK).Into(&sent)
	var ack map[string]string
	bob.Ack(sent.MessageID).Want(http.StatusOK).Into(&ack)
	if ack["message"] != "Message acknowledged successfully" || ack["recipient"] != bob.Address || ack["message_id"] != sent.MessageID ||
		ack["status"] != "acknowledged" || ack["timestamp"] == "" {
		t.Errorf("%v", ack)
	}
	for name, id := range map[string]string{"twice": sent.MessageID, "unknown": amtp.NewMessageID(time.Now()), "no id": "x"} {
		if got := bob.Ack(id).Want(http.StatusNotFound); got.Code() != amtp.CodeMessageNotFound {
			t.Errorf("%s: %s", name, got.Body)
		}
	}
	if len(bob.Inbox()) != 0 || len(carol.Inbox()) != 1 {
		t.Error("carol's copy went with bob's, or bob's stayed")
	}
	for _, r := range alice.Status(sent.MessageID).Recipients {
		if r.Acknowledged != (r.Address == bob.Address) || (r.AcknowledgedAt != nil) != r.Acknowledged || !r.InboxDelivered {
			t.Errorf("%+v", r)
		}
	}
	other := alice.Send(carol.Address, `2`)
	bob.Ack(other.MessageID).Want(http.StatusNotFound)
}

// Checklist 64: a reader sees of the other recipients what the policy says.
func TestRecipientsThatAReaderSees(t *testing.T) {
	for own, want := range map[bool]int{false: 2, true: 1} {
		g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.Inbox.OwnRecipients = own }, "a.test").At("a.test")
		alice, bob, carol := g.Register("alice"), g.Register("bob"), g.Register("carol")
		alice.Post(map[string]any{"recipients": []string{carol.Address, bob.Address}, "payload": 1}).Want(http.StatusOK)
		got := bob.Inbox()
		if len(got) != 1 || len(got[0].Recipients) != want || got[0].Recipients[len(got[0].Recipients)-1] != bob.Address {
			t.Errorf("only own %v: %+v", own, got)
		}
	}
}

// Who looks into its inbox is active.
func TestInboxNotesLastAccess(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	bob := g.Register("bob")
	last := func() time.Time {
		var got struct {
			Agents map[string]struct {
				LastAccess time.Time `json:"last_access"`
			}
		}
		g.Admin(http.MethodGet, "/v1/admin/agents", nil).Want(http.StatusOK).Into(&got)
		return got.Agents[bob.Address].LastAccess
	}
	before := last()
	g.Do(http.MethodGet, "/v1/inbox/"+bob.Address, nil, "Authorization", "Bearer nope").Want(http.StatusForbidden)
	if !last().Equal(before) {
		t.Error("somebody else's try counts")
	}
	bob.Inbox()
	if !last().After(before) {
		t.Error("its own look does not count")
	}
}

// Whoever has a message in an inbox gets it as it was sent.
func TestInboxGivesMessagesAsTheyWereSent(t *testing.T) {
	g := gatewaytest.Start(t, "a.test").At("a.test")
	alice, bob := g.Register("alice"), g.Register("bob")
	alice.Post(map[string]any{
		"recipients": []string{bob.Address}, "subject": "PO 77 <&>", "payload": json.RawMessage(`{"n":1.50,"b":null,"a":"ü"}`),
		"headers": json.RawMessage(`{"priority":"high"}`), "custom": 7,
	}).Want(http.StatusOK)
	got := bob.Inbox()
	if len(got) != 1 || got[0].Sender != alice.Address || got[0].Subject != "PO 77 <&>" || string(got[0].Payload) != `{"n":1.50,"b":null,"a":"ü"}` ||
		string(got[0].Headers) != `{"priority":"high"}` {
		t.Errorf("%+v", got)
	}
}

package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/gatewaytest"
)

// both are one gateway of ours, a.test, with bob and eve, and the reference's stand-in,
// r.test, which know each other.
func both(t *testing.T) (*gatewaytest.Gateway, *gatewaytest.Agentry, map[string]*gatewaytest.Agent) {
	t.Helper()
	theirs := gatewaytest.StartAgentry(t, "r.test")
	ours := gatewaytest.StartWith(t, func(c *gateway.Config) {
		c.Discovery.MockRecords["r.test"] = theirs.Record()
		quick(c)
	}, "a.test").At("a.test")
	theirs.Knows("a.test", ours.URL)
	return ours, theirs, map[string]*gatewaytest.Agent{"bob": ours.Register("bob"), "eve": ours.Register("eve"), "alice": ours.Register("alice")}
}

// whole reads an inbox, page by page.
func whole(t *testing.T, a *gatewaytest.Agent) []gatewaytest.Message {
	t.Helper()
	var all []gatewaytest.Message
	for {
		var page struct {
			Messages []gatewaytest.Message
			HasMore  bool `json:"has_more"`
		}
		a.Do(http.MethodGet, fmt.Sprintf("/v1/inbox/%s?limit=100&offset=%d", url.PathEscape(a.Address), len(all)), nil).Want(http.StatusOK).Into(&page)
		if all = append(all, page.Messages...); !page.HasMore {
			return all
		}
	}
}

// once fails unless an inbox has each of n payloads once, and returns their ids by number.
func once(t *testing.T, who string, inbox []gatewaytest.Message, n int) map[int]string {
	t.Helper()
	ids := make(map[int]string)
	for _, m := range inbox {
		var payload struct{ N int }
		if err := json.Unmarshal(m.Payload, &payload); err != nil {
			t.Fatal(err)
		}
		if _, twice := ids[payload.N]; twice {
			t.Errorf("%s has %d twice", who, payload.N)
		}
		ids[payload.N] = m.MessageID
	}
	if len(ids) != n {
		t.Errorf("%s has %d messages, want %d", who, len(ids), n)
	}
	return ids
}

// inParallel does something n times, eight at a time.
func inParallel(n int, do func(i int)) {
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				do(i)
			}
		})
	}
	wg.Wait()
}

const letters = 100

// Checklist 81 and 82, spec (d) 1: what the reference sends to two of us, in two requests
// with one id and one key, both of them have.
func TestBothRecipientsHaveWhatAgentrySends(t *testing.T) {
	t.Parallel()
	_, theirs, agents := both(t)
	inParallel(letters, func(i int) {
		_, codes := theirs.Send("rob@r.test", []string{"bob@a.test", "eve@a.test"}, fmt.Sprintf(`{"n":%d}`, i))
		for to, code := range codes {
			if code != http.StatusOK {
				t.Errorf("%d to %s: status %d", i, to, code)
			}
		}
	})
	bob, eve := once(t, "bob", whole(t, agents["bob"]), letters), once(t, "eve", whole(t, agents["eve"]), letters)
	for n, id := range bob {
		if eve[n] != id {
			t.Errorf("%d is %s for bob and %s for eve", n, id, eve[n])
		}
	}
}

// Checklist 81 and 82: what we send to two of the reference's, both of them have.
func TestBothRecipientsHaveWhatAgentryGets(t *testing.T) {
	t.Parallel()
	_, theirs, agents := both(t)
	ids := make([]string, letters)
	inParallel(letters, func(i int) {
		got := agents["alice"].Post(map[string]any{
			"recipients": []string{"rob@r.test", "ria@r.test"}, "subject": fmt.Sprint(i), "payload": map[string]int{"n": i},
		})
		var sent struct {
			MessageID string `json:"message_id"`
		}
		got.Into(&sent)
		ids[i] = sent.MessageID
	})
	for i, id := range ids {
		for _, r := range agents["alice"].Settled(id).Recipients {
			if r.Status != "delivered" {
				t.Errorf("%d to %s: %+v", i, r.Address, r)
			}
		}
	}
	for _, who := range []string{"rob@r.test", "ria@r.test"} {
		for n, id := range once(t, who, theirs.Inbox(who), letters) {
			if id != ids[n] {
				t.Errorf("%s has %d as %s, want %s", who, n, id, ids[n])
			}
		}
	}
}

// Checklist 83: messages wait for a gateway that is down, and come once.
func TestMessagesWaitForAgentry(t *testing.T) {
	t.Parallel()
	_, theirs, agents := both(t)
	theirs.Down(true)
	var ids []string
	for i := range 5 {
		ids = append(ids, agents["alice"].Send("rob@r.test", fmt.Sprintf(`{"n":%d}`, i)).MessageID)
	}
	theirs.Down(false)
	for _, id := range ids {
		agents["alice"].Settled(id)
	}
	once(t, "rob", theirs.Inbox("rob@r.test"), len(ids))
}

// Who has had a message knows its id. It takes nothing from its sender to write
// to nobody under that id before the message comes.
func TestNobodyHoldsAnotherOnesID(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	bob := g.Register("bob")
	id := amtp.NewMessageID(time.Now())
	letter := func(from, to string) map[string]any {
		return map[string]any{
			"version": "1.0", "message_id": id, "idempotency_key": amtp.NewKey(), "timestamp": time.Now().UTC().Format(time.RFC3339),
			"sender": from, "recipients": []string{to}, "payload": from,
		}
	}
	stolen := letter("x@evil.test", "ghost@a.test")
	for range 2 { // the same answer again
		res := result(t, g.Do(http.MethodPost, "/v1/messages", stolen).Want(http.StatusBadRequest))
		if res.MessageID != id || res.Status != amtp.Failed || len(res.Recipients) != 1 || res.Recipients[0].ErrorCode != amtp.CodeAgentUnknown {
			t.Errorf("%+v", res)
		}
	}
	g.Admin(http.MethodGet, "/v1/messages/"+id, nil).Want(http.StatusNotFound)
	honest := letter("rob@r.test", "bob@a.test")
	g.Do(http.MethodPost, "/v1/messages", honest).Want(http.StatusOK)
	if inbox := bob.Inbox(); len(inbox) != 1 || inbox[0].MessageID != id || inbox[0].Sender != "rob@r.test" {
		t.Errorf("%+v", inbox)
	}
	// A message that has come keeps its answer when its agent is gone.
	g.Admin(http.MethodDelete, "/v1/admin/agents/bob", nil).Want(http.StatusOK)
	if res := result(t, g.Do(http.MethodPost, "/v1/messages", honest)); res.Status != amtp.Delivered {
		t.Errorf("%+v", res)
	}
}

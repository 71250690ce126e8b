package delivery_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/gateway/amtp"
	"amesh/gateway/delivery"
	"amesh/gateway/peer"
	"amesh/gateway/store"
	"amesh/gateway/webhook"
)

func TestNoticeTellsTheSenderWhatFailedAndWhy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		_, stop := start(t, delivery.Config{Store: q, Peers: peers{send: func(_ context.Context, _ string, m peer.Outgoing) []peer.Result {
			other := denied
			other.Code, other.Text = amtp.CodeAgentUnknown, "no such agent"
			return []peer.Result{taken, denied, other}
		}}})
		now := time.Now().UTC()
		id := q.add(t, "user@a.test", store.Remote, `,"workflow_id":"w1"`, "x@b.test", "y@b.test", "z@b.test")
		time.Sleep(time.Second)
		stop()
		notices := q.notices()
		if len(notices) != 1 {
			t.Fatalf("%d notices", len(notices))
		}
		n := notices[0]
		to := []store.NewRecipient{{Address: amtp.Address{Local: "user", Domain: ours}, Mode: store.Pull, State: amtp.Delivered}}
		if diff := cmp.Diff(to, n.Recipients); diff != "" || n.Origin != ours || n.KeyTTL <= 0 || !n.Accepted.Equal(now) {
			t.Errorf("%s %v: %s", n.Origin, n.KeyTTL, diff)
		}
		m := n.Message
		if m.Sender.String() != "postmaster@a.test" || m.InReplyTo != id || m.ResponseType != "delivery_failure" || m.WorkflowID != "w1" || m.Subject == "" {
			t.Errorf("%+v", m)
		}
		var headers map[string]string
		if err := json.Unmarshal(m.Headers, &headers); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"auto-submitted": "auto-replied", amtp.OriginalIDHeader: id}, headers); diff != "" {
			t.Error(diff)
		}
		var payload map[string]any
		if err := json.Unmarshal(m.Payload, &payload); err != nil {
			t.Fatal(err)
		}
		at := now.Format(time.RFC3339)
		want := map[string]any{
			"version": "1.0", "message_type": "delivery_failure", "original_message_id": id, "original_subject": "S",
			"failed_recipients": []any{"y@b.test", "z@b.test"}, "error_code": "CLIENT_ERROR", "error_message": denied.Text,
			"retry_count": 1.0, "accepted_at": at, "final_attempt": at,
			"recipients": []any{
				map[string]any{"address": "y@b.test", "error_code": "CLIENT_ERROR", "error_message": denied.Text, "http_status": 403.0, "attempts": 1.0},
				map[string]any{"address": "z@b.test", "error_code": "AGENT_UNKNOWN", "error_message": "no such agent", "http_status": 403.0, "attempts": 1.0},
			},
		}
		if diff := cmp.Diff(want, payload); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhoGetsANotice(t *testing.T) {
	for _, c := range []struct {
		name, sender, more string
		want               store.Mode // None: nobody
	}{
		{"an agent that fetches", "user@a.test", "", store.Pull},
		{"an agent that is pushed to", "pusher@a.test", "", store.Push},
		{"nobody we know", "ghost@a.test", "", store.None},
		{"a sender of another domain", "user@c.test", "", store.None},
		{"about a notice", "user@a.test", `,"response_type":"delivery_failure"`, store.None},
		{"about an automatic reply", "user@a.test", `,"headers":{"Auto-Submitted":"auto-replied"}`, store.None},
		{"about what was written by hand", "user@a.test", `,"headers":{"auto-submitted":"no"}`, store.Pull},
		{"about odd headers", "user@a.test", `,"headers":{"auto-submitted":[1]}`, store.Pull},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				q := newQueue()
				_, stop := start(t, delivery.Config{Store: q, Peers: always(denied), UnknownPull: true})
				q.add(t, c.sender, store.Remote, c.more, "x@b.test")
				time.Sleep(time.Second)
				stop()
				if diff := cmp.Diff(map[amtp.State]int{amtp.Failed: 1}, q.states()); diff != "" {
					t.Error(diff)
				}
				got := store.None
				for _, n := range q.notices() {
					got = n.Recipients[0].Mode
				}
				if got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		})
	}
}

// A notice has the same id however often the failure is written down, and another one
// when the message was redriven and failed again.
func TestNoticeIsOneForEachFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		_, stop := start(t, delivery.Config{Store: q, Peers: always(denied)})
		q.add(t, "user@a.test", store.Remote, "", "x@b.test")
		time.Sleep(time.Second)
		for _, again := range []time.Duration{0, time.Minute} { // as after a crash, and as Redrive does
			q.mu.Lock()
			r := q.rows[0]
			r.state, r.Queued, r.due = amtp.Queued, r.Queued.Add(again), time.Now()
			q.mu.Unlock()
			time.Sleep(10 * time.Second)
		}
		stop()
		var ids []string
		for _, n := range q.notices() {
			ids = append(ids, n.Message.MessageID)
		}
		if len(ids) != 3 || ids[0] != ids[1] || ids[1] == ids[2] {
			t.Errorf("%v", ids)
		}
	})
}

func TestNoticeThatIsNotAcceptedHoldsNothingUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		q.refuse = store.ErrIDConflict
		_, stop := start(t, delivery.Config{Store: q, Peers: always(denied)})
		q.add(t, "user@a.test", store.Remote, "", "x@b.test")
		time.Sleep(time.Second)
		stop()
		if diff := cmp.Diff(map[amtp.State]int{amtp.Failed: 1}, q.states()); diff != "" || len(q.notices()) != 0 {
			t.Errorf("%d notices: %s", len(q.notices()), diff)
		}
	})
}

func TestImmediateReplyGoesToTheSender(t *testing.T) {
	for _, c := range []struct {
		name, sender, more, reply string
		unknownPull               bool
		want                      store.Mode // None: no reply
		responseType              string
	}{
		{name: "to an agent that fetches", sender: "user@a.test", reply: `{"ok":1}`, want: store.Pull},
		{name: "to an agent that is pushed to", sender: "pusher@a.test", reply: `"yes"`, want: store.Push},
		{name: "to another domain", sender: "user@c.test", reply: `[1]`, want: store.Remote},
		{name: "in a workflow", sender: "user@c.test", more: `,"workflow_id":"w1"`, reply: `1`, want: store.Remote, responseType: "workflow_response"},
		{name: "to nobody we know", sender: "ghost@a.test", reply: `1`, want: store.None},
		{name: "to nobody we know, where that is allowed", sender: "ghost@a.test", reply: `1`, unknownPull: true, want: store.Pull},
		{name: "to a reply", sender: "user@a.test", more: `,"headers":{"auto-submitted":"auto-replied"}`, reply: `1`, want: store.None},
		{name: "that is no message's payload", sender: "user@a.test", reply: `{"a":1,"a":2}`, want: store.None},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				q := newQueue()
				s, stop := start(t, delivery.Config{Store: q, UnknownPull: c.unknownPull, Hooks: hooks(func(context.Context, store.Agent) webhook.Result {
					return webhook.Result{State: amtp.Delivered, HTTPStatus: 200, Reply: json.RawMessage(c.reply)}
				})})
				id := q.add(t, c.sender, store.Push, c.more, "pusher@a.test")
				time.Sleep(time.Second)
				stop()
				if diff := cmp.Diff(map[amtp.State]int{amtp.Delivered: 1}, q.states()); diff != "" {
					t.Error(diff)
				}
				replies := q.notices()
				if c.want == store.None {
					if len(replies) != 0 {
						t.Errorf("%+v", replies[0].Message)
					}
					return
				}
				if len(replies) != 1 || s.Stats().Replies != 1 {
					t.Fatalf("%d replies", len(replies))
				}
				m, to := replies[0].Message, replies[0].Recipients[0]
				if to.Mode != c.want || to.Address.String() != c.sender {
					t.Errorf("to %+v", to)
				}
				if m.Sender.String() != "pusher@a.test" || m.InReplyTo != id || string(m.Payload) != c.reply || m.ResponseType != c.responseType {
					t.Errorf("%+v", m)
				}
			})
		})
	}
}

func TestPushToWhoIsGoneOrFetchesByNow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := newQueue()
		later := agents{
			"user@a.test": someAgents["user@a.test"],
			"late@a.test": {Address: "late@a.test", Mode: store.Push, PushTarget: "https://hook.test/", Created: time.Now().Add(2 * time.Minute)},
		}
		_, stop := start(t, delivery.Config{Store: q, Agents: later})
		q.add(t, "user@a.test", store.Push, "", "ghost@a.test")
		q.add(t, "user@a.test", store.Push, "", "late@a.test") // meant for another one of that name
		q.add(t, "user@a.test", store.Push, "", "user@a.test")
		time.Sleep(time.Second)
		stop()
		for _, o := range q.written {
			gone := o.State == amtp.Failed && o.Code == amtp.CodeAgentUnknown && !o.Inbox
			fetches := o.State == amtp.Delivered && o.Inbox
			if o.Address != "user@a.test" && !gone || o.Address == "user@a.test" && !fetches {
				t.Errorf("%+v", o)
			}
		}
		if len(q.written) != 3 {
			t.Errorf("%d outcomes", len(q.written))
		}
	})
}

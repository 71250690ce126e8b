package node

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"amesh/identity"
	"amesh/node/api"
)

// deskOf hands out messages once and writes down what becomes of them.
type deskOf struct {
	in   chan []api.InboxMessage
	sent []string
	acks []string
	fail error
}

func (d *deskOf) Lease(ctx context.Context, _ api.LeaseRequest) ([]api.InboxMessage, error) {
	select {
	case m := <-d.in:
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d *deskOf) Send(_ context.Context, r api.SendRequest, key string) (api.Message, error) {
	d.sent = append(d.sent, fmt.Sprintf("%s to %s, answers %s, key %s", r.Body, r.To, r.ReplyTo, key))
	return api.Message{}, d.fail
}

func (d *deskOf) Ack(_ context.Context, id string, r api.AckRequest) (api.InboxItem, error) {
	d.acks = append(d.acks, strings.TrimSpace(id+" "+string(r.Outcome)+" "+r.Text))
	return api.InboxItem{}, nil
}

func written(from identity.AMID, id, body, replyTo string) api.InboxMessage {
	return api.InboxMessage{Body: []byte(body), InboxItem: api.InboxItem{ID: id, From: from, ReplyTo: replyTo}}
}

func TestEchoAnswersOnceAndNeverAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deskOf{in: make(chan []api.InboxMessage)}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- (&echoer{desk: d, log: slog.New(slog.DiscardHandler)}).run(ctx) }()
		d.in <- []api.InboxMessage{
			written(alice, "1", "hello", ""), written(alice, "2", "hello back", "x"), written(bob, "3", strings.Repeat("x", echoBody+1), ""),
		}
		synctest.Wait()
		if want := []string{"hello to " + alice.String() + ", answers 1, key echo-1"}; fmt.Sprint(d.sent) != fmt.Sprint(want) {
			t.Errorf("sent %q", d.sent)
		}
		if want := []string{"1 handled", "2 handled", "3 refused an echo has at most 65536 bytes"}; fmt.Sprint(d.acks) != fmt.Sprint(want) {
			t.Errorf("ends %q", d.acks)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What could not be answered is not done with: it is handed out again.
func TestEchoKeepsWhatItCouldNotAnswer(t *testing.T) {
	d := &deskOf{fail: context.DeadlineExceeded}
	e := &echoer{desk: d, log: slog.New(slog.DiscardHandler)}
	if err := e.answer(t.Context(), written(alice, "1", "hello", "")); err == nil || len(d.acks) > 0 {
		t.Errorf("error %v, ends %q", err, d.acks)
	}
}

func TestEchoRefusesWhatComesTooOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &echoer{}
		count := func(from func(i int) identity.AMID, n int) (let int) {
			for i := range n {
				if e.allow(from(i)) {
					let++
				}
			}
			return let
		}
		if got := count(func(int) identity.AMID { return alice }, 50); got != echoPerSender {
			t.Errorf("%d answers to one sender", got)
		}
		if got := count(func(i int) identity.AMID { return identity.AMID{byte(i), byte(i >> 8), 7} }, 500); got != echoPerMinute-echoPerSender {
			t.Errorf("%d answers to others", got)
		}
		time.Sleep(time.Minute)
		if !e.allow(alice) {
			t.Error("a minute later it is refused still")
		}
	})
}

func TestEchoIsOpenAndTheOwnersAgentIsNot(t *testing.T) {
	s := newStation(t)
	a := startNode(t, Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Echo: true})
	b := startNode(t, Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Echo: true})
	a.set("strangers", "reject")
	b.set("strangers", "reject")
	echo := func(r *running) identity.AMID {
		st, err := r.api.Status(t.Context(), "")
		if err != nil || len(st.Agents) != 2 || !st.Agents[1].Echo || st.Agents[0].AMID != r.amid {
			t.Fatalf("agents %+v, %v", st.Agents, err)
		}
		return st.Agents[1].AMID
	}
	first := echo(a)
	eventually(t, "record", func() bool { _, err := s.find(first); return err == nil })
	if _, err := b.api.Send(t.Context(), "", api.SendRequest{To: first.String(), Body: []byte("anybody there?"), Wait: api.StateHandled, TimeoutMS: 20_000}, ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the same words back", func() bool { return len(b.bodies()) == 1 && b.bodies()[0] == "anybody there?" })
	// Its own echo agent writes to the other's: one answer, and no more.
	m, err := b.api.Send(t.Context(), echoName, api.SendRequest{To: first.String(), Body: []byte("loop?"), Wait: api.StateHandled, TimeoutMS: 20_000}, "")
	if err != nil || m.State != api.StateHandled {
		t.Fatalf("%+v, %v", m, err)
	}
	eventually(t, "the answer is done with", func() bool {
		page, err := b.api.Inbox(t.Context(), echoName, api.InboxQuery{All: true})
		return err == nil && len(page.Items) == 1 && page.Items[0].State == api.InboxHandled
	})
	out, err := b.api.Messages(t.Context(), echoName, 0)
	if err != nil || len(out) != 1 {
		t.Errorf("the echo agent answered an answer: %+v, %v", out, err)
	}
	// The owner's policy holds for his own agent.
	no, err := b.api.Send(t.Context(), "", api.SendRequest{To: a.amid.String(), Body: []byte("x"), Wait: api.StateDelivered, TimeoutMS: 20_000}, "")
	if err != nil || no.State != api.StateRefused {
		t.Errorf("the owner's agent: %+v, %v", no, err)
	}
	// A block holds for the echo agent, too.
	if _, err := a.api.Block(t.Context(), "", b.amid.String(), true); err != nil {
		t.Fatal(err)
	}
	no, err = b.api.Send(t.Context(), "", api.SendRequest{To: first.String(), Body: []byte("y"), Wait: api.StateDelivered, TimeoutMS: 3_000}, "")
	if err != nil || no.State == api.StateDelivered {
		t.Errorf("after a block: %+v, %v", no, err)
	}
	// Restarted without the offer it is gone, and nobody has to name an agent.
	a.end()
	a.cfg.Echo = false
	a.start()
	if st, err := a.api.Status(t.Context(), ""); err != nil || len(st.Agents) != 1 {
		t.Errorf("without the offer: %+v, %v", st.Agents, err)
	}
}

package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"amesh/internal/store"
	"amesh/relay/mailbox"
)

// T42 for one relay: a thousand messages arrive once and in order though the
// server dies twice on its data, once inside a commit.
func TestThousandMessagesThroughRestarts(t *testing.T) {
	const total = 1000
	// Room for all of it, however late the receiver comes back. From a mailbox that is
	// full messages would be refused, and this sender goes on with the next ones.
	l := DefaultLimits()
	l.CloseWait, l.Mailbox.Share = 50*time.Millisecond, l.Mailbox.Box
	disk := store.NewMemory()
	h := newHouse(t)
	h.start(disk, l)
	alice, bob := startAgent(t, 1, h.url(), quick()), startAgent(t, 2, h.url(), quick())
	bob.connected()
	alice.connected()
	b := testKey(t, 2).AMID()

	relayed := make(chan int, total)
	go sendAll(alice, Outgoing{To: b, Kind: KindMessage}, total, relayed)
	got := make([]string, 0, total)
	seen := map[string]bool{}
	for restarts := 0; len(got) < total; {
		d := bob.receive()
		bob.Ack(d.ID)
		if seen[d.ID] {
			continue
		}
		seen[d.ID] = true
		got = append(got, strings.TrimPrefix(string(d.Payload), Magic))
		if len(got) >= (restarts+1)*300 && restarts < 2 {
			restarts++
			crashNext(disk, store.Phase(restarts))
			time.Sleep(time.Duration(restarts) * time.Millisecond)
			h.shut()
			disk = disk.Reopen()
			h.start(disk, l)
		}
	}
	for i, p := range got {
		if p != fmt.Sprint(i) {
			t.Fatalf("place %d has message %s", i, p)
		}
	}
	for range total {
		select {
		case <-relayed:
		case <-time.After(patience):
			t.Fatal("not everything was confirmed")
		}
	}
	// What came twice is acknowledged twice, so nothing stays behind.
	h.holds(b, 0)
}

// The same on the real disk: what one process stored, the next one hands out.
func TestMailSurvivesOnDisk(t *testing.T) {
	dir := t.TempDir()
	open := func() store.Store {
		t.Helper()
		s, err := store.Open(dir, store.Options{Schema: mailbox.Schema(), Reserve: 1})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	h := newHouse(t)
	disk := open()
	h.start(disk, quick())
	alice := startAgent(t, 1, h.url(), quick())
	alice.connected()
	b := testKey(t, 2).AMID()
	// A mailbox of the small size has no room for a hundred of one sender.
	if _, err := h.server.box.Open(t.Context(), b, true); err != nil {
		t.Fatal(err)
	}
	relayed := make(chan int, 300)
	sendAll(alice, Outgoing{To: b, Kind: KindMessage}, 100, relayed)
	h.shut()
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}
	disk = open()
	defer func() {
		h.shut()
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	}()
	h.start(disk, quick())
	bob := startAgent(t, 2, h.url(), quick())
	if s := bob.connected(); s.Pending != 100 {
		t.Errorf("state: %+v", s)
	}
	for i := range 100 {
		d := bob.receive()
		if string(d.Payload) != Magic+fmt.Sprint(i) {
			t.Fatalf("place %d has %q", i, d.Payload)
		}
		bob.Ack(d.ID)
	}
	h.holds(b, 0)
}

// sendAll sends messages in order with a window, and sends again from the first
// that failed, as an outbox does.
func sendAll(a *agent, o Outgoing, total int, relayed chan<- int) {
	const window = 64
	for next := 0; next < total; {
		end := min(next+window, total)
		if o.Session = a.Session(); o.Session == "" {
			time.Sleep(time.Millisecond)
			continue
		}
		results := make([]chan Result, end-next)
		for i := range results {
			results[i] = make(chan Result, 1)
			o.Payload = envelope(fmt.Sprint(next + i))
			a.Send(o, func(r Result) { results[i] <- r })
		}
		failed := false
		for i := range results {
			if r := <-results[i]; r.Err != nil {
				failed = true
			} else if !failed {
				next++
				relayed <- i
			}
		}
	}
}

package relay

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTopNamesTheBusy(t *testing.T) {
	d := openDoor(t, ServerConfig{})
	ann, bob := d.join(1, "127.0.0.1"), d.join(2, "127.0.0.2")
	carol := testKey(t, 3).AMID()
	d.tcp("127.0.0.9")
	d.room(1)
	for range 3 {
		ann.send(carol, "kept", "")
	}
	ann.send(carol, string(make([]byte, 64<<10+1)), "")
	ann.want(object{"type": typeError})
	ann.quiet()
	bob.quiet()
	bad, _, err := d.ws("127.0.0.3")
	if err != nil {
		t.Fatal(err)
	}
	bad.write(signed(testKey(t, 4), jsStamp(), "else"))
	bad.closed()
	d.room(1)

	// A frame is counted after it was written.
	until(t, "the last pong is counted", func() bool { return d.server.Stats().Out[typePong].N == 2 })
	agents, addresses := d.server.Top(t.Context(), 10, ByStored)
	if len(agents) != 2 || agents[0].Who != ann.who.String() || agents[1].Who != bob.who.String() {
		t.Fatalf("agents %+v", agents)
	}
	a := agents[0]
	if a.Connections != 1 || a.Recent != a.Total || a.Total.Stored != 3 || a.Total.Refused != 1 || a.Total.In.N != 5 || a.Mailbox == nil {
		t.Errorf("ann: %+v", a)
	}
	got := map[string][3]int{}
	for _, b := range addresses {
		got[b.Who] = [3]int{b.Connections, b.Waiting, int(b.Total.Refused)}
	}
	want := map[string][3]int{"127.0.0.1": {1, 0, 1}, "127.0.0.2": {1, 0, 0}, "127.0.0.3": {0, 0, 1}, "127.0.0.9": {0, 1, 0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses -want +got:\n%s", diff)
	}
	if agents, addresses = d.server.Top(t.Context(), 1, ByBytes); len(agents) != 1 || len(addresses) != 1 || agents[0].Who != ann.who.String() {
		t.Errorf("the one busiest: %+v, %+v", agents, addresses)
	}
}

func TestLedgerForgetsInTimeAndNeverGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger[int](3)
		busy := l.of(1, 1)
		busy.inFrames.Add(10)
		l.of(2, 0).refused.Add(1)
		for range 3 {
			time.Sleep(ledgerTurn)
			l.turn(time.Now())
		}
		busy.inFrames.Add(5)
		for _, line := range l.read() {
			if line.key == 1 && (line.recent.In.N != 5 || line.all.In.N != 15 || line.conns != 1) {
				t.Errorf("busy: %+v", line)
			}
		}
		for key := range 100 {
			l.of(100+key, 0)
			if len(l.rows) > 3 {
				t.Fatalf("%d rows", len(l.rows))
			}
		}
		if l.of(1, 0) != busy {
			t.Error("a row with a connection was forgotten")
		}
		l.done(busy)
		l.of(2, 1)
		time.Sleep(ledgerIdle + 1)
		l.turn(time.Now())
		if lines := l.read(); len(lines) != 1 || lines[0].key != 2 {
			t.Errorf("after a while: %+v", lines)
		}
	})
}

func TestFullLedgerCountsAside(t *testing.T) {
	l := newLedger[netip.Addr](1)
	l.of(netip.MustParseAddr("192.0.2.1"), 1)
	other := l.of(netip.MustParseAddr("192.0.2.2"), 1)
	if other != &l.spare {
		t.Error("a place was found where none is")
	}
	l.done(other)
	if l.spare.conns != 0 {
		t.Errorf("%d connections aside", l.spare.conns)
	}
}

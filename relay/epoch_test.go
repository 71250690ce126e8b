package relay

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/relay/marks"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// startKeeper is a relay that keeps marks.
func startKeeper(t *testing.T, disk *store.Memory) *house {
	t.Helper()
	h := newHouse(t)
	h.cfg.Marks = testMarks(t, disk)
	h.start(disk, Limits{})
	return h
}

func testMarks(t *testing.T, disk *store.Memory) *marks.Disk {
	t.Helper()
	m, err := marks.New(disk, marks.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mark(t *testing.T, n byte, server string, epoch uint32, reserved uint64) []byte {
	t.Helper()
	raw, err := identity.SignMark(testKey(t, n), identity.RollbackMark{Server: server, Epoch: epoch, Reserved: reserved})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (c *raw) deposit(mark []byte) object {
	c.t.Helper()
	c.write(depositedFrame{Type: typeDeposit, Mark: base64.StdEncoding.EncodeToString(mark)})
	return c.want(object{"type": typeDeposited})
}

// Rollback mark (b): the highest is kept, and given back with connected.
func TestTheHighestMarkIsKept(t *testing.T) {
	disk := store.NewMemory()
	h := startKeeper(t, disk)
	alice, connected := h.join(1, ExtensionChallenge, ExtensionEpoch)
	if _, has := connected["mark"]; has {
		t.Errorf("connected: %v", connected)
	}
	for _, c := range []struct {
		name     string
		epoch    uint32
		reserved uint64
		wantE    uint32
		wantR    uint64
	}{
		{"first", 2, 100, 2, 100},
		{"the same", 2, 100, 2, 100},
		{"lower", 2, 99, 2, 100},
		{"lower epoch", 1, 5000, 2, 100},
		{"higher", 2, 101, 2, 101},
		{"higher epoch", 3, 1, 3, 1},
	} {
		got := alice.deposit(mark(t, 1, h.addr(), c.epoch, c.reserved))
		want := base64.StdEncoding.EncodeToString(mark(t, 1, h.addr(), c.wantE, c.wantR))
		if diff := cmp.Diff(object{"type": typeDeposited, "mark": want}, got); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	for name, raw := range map[string][]byte{
		"another agent's":  mark(t, 2, h.addr(), 9, 9),
		"for another":      mark(t, 1, "relay.example:443", 9, 9),
		"for the file":     mark(t, 1, "", 9, 9),
		"not signed":       append(mark(t, 1, h.addr(), 9, 9)[:60], make([]byte, 64)...),
		"nothing":          nil,
		"longer than told": append(mark(t, 1, h.addr(), 9, 9), 0),
	} {
		if got := alice.deposit(raw); got["code"] != "invalid" || got["mark"] != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	alice.writeText(`{"type":"deposit","mark":7}`)
	alice.want(object{"type": typeDeposited, "code": "invalid"})

	h.shut()
	h.cfg.Marks = testMarks(t, disk)
	h.start(disk, Limits{})
	_, connected = h.join(1, ExtensionChallenge, ExtensionEpoch)
	if want := base64.StdEncoding.EncodeToString(mark(t, 1, h.addr(), 3, 1)); connected["mark"] != want {
		t.Errorf("after a restart: %v", connected)
	}
	_, connected = h.join(2, ExtensionChallenge, ExtensionEpoch)
	if _, has := connected["mark"]; has {
		t.Errorf("another agent was given a mark: %v", connected)
	}
}

// A mark left under another name of the relay is not handed out, and gives way.
func TestMarkOfAnotherNameGivesWay(t *testing.T) {
	disk := store.NewMemory()
	m := testMarks(t, disk)
	if _, err := m.Keep(t.Context(), testKey(t, 1).AMID(), mark(t, 1, "relay.example:443", 9, 9), nil); err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	h.cfg.Marks = m
	h.start(disk, Limits{})
	alice, connected := h.join(1, ExtensionChallenge, ExtensionEpoch)
	if _, has := connected["mark"]; has {
		t.Errorf("connected: %v", connected)
	}
	lower := mark(t, 1, h.addr(), 1, 1)
	if got := alice.deposit(lower); got["mark"] != base64.StdEncoding.EncodeToString(lower) {
		t.Errorf("deposited: %v", got)
	}
}

func TestNoMarksWithoutTheExtension(t *testing.T) {
	h := startKeeper(t, store.NewMemory())
	for _, ext := range [][]Extension{nil, {ExtensionEpoch}, {ExtensionChallenge}} {
		alice, connected := h.join(1, ext...)
		if strings.Contains(string(encode(connected)), `"epoch"`) {
			t.Errorf("%v: %v", ext, connected)
		}
		alice.write(depositedFrame{Type: typeDeposit, Mark: base64.StdEncoding.EncodeToString(mark(t, 1, h.addr(), 1, 1))})
		alice.quiet()
	}
	bare, _ := startRelay(t, Limits{})
	_, connected := bare.join(1, ExtensionChallenge, ExtensionEpoch)
	if diff := cmp.Diff([]any{"challenge"}, connected["extensions"]); diff != "" {
		t.Error(diff)
	}
}

type kept struct {
	mark *identity.RollbackMark
	err  error
}

func (a *agent) deposit(raw []byte) kept {
	a.t.Helper()
	done := make(chan kept, 2)
	a.Deposit(raw, func(m *identity.RollbackMark, err error) { done <- kept{m, err} })
	return await(a.t, "the answer to Deposit", done)
}

func TestClientDeposits(t *testing.T) {
	h := startKeeper(t, store.NewMemory())
	alice := newAgent(t, ClientConfig{URL: h.url(), Key: testKey(t, 1), Limits: quick()})
	if k := alice.deposit(nil); !errors.Is(k.err, ErrDisconnected) {
		t.Errorf("without a connection: %v", k.err)
	}
	alice.run()
	if s := alice.connected(); s.Mark != nil {
		t.Errorf("state: %+v", s)
	}
	want := &identity.RollbackMark{Server: h.addr(), AMID: testKey(t, 1).AMID(), Epoch: 2, Reserved: 7}
	for _, reserved := range []uint64{7, 6} {
		k := alice.deposit(mark(t, 1, alice.RelayID(), 2, reserved))
		if diff := cmp.Diff(want, k.mark); diff != "" || k.err != nil {
			t.Errorf("%v: %s", k.err, diff)
		}
	}
	var no *RefusedError
	if k := alice.deposit([]byte("no mark")); !errors.As(k.err, &no) || no.Code != RefusedInvalid {
		t.Errorf("no mark: %v", k.err)
	}
	alice.stop()
	again := startAgent(t, 1, h.url(), quick())
	if diff := cmp.Diff(want, again.connected().Mark); diff != "" {
		t.Error(diff)
	}
}

// A relay that lies can show no mark that is not ours for it.
func TestForeignMarksCountAsNone(t *testing.T) {
	m := newMute(t, []Extension{ExtensionChallenge, ExtensionAck, ExtensionEpoch})
	m.header.Set(challengeHeader, strings.Repeat("A", 43)+"=")
	m.mark = base64.StdEncoding.EncodeToString(mark(t, 1, "relay.example:443", 9, 9))
	alice := startAgent(t, 1, m.url(), quick())
	if s := alice.connected(); s.Mark != nil {
		t.Errorf("state: %+v", s)
	}
	done := make(chan kept, 2)
	alice.Deposit(mark(t, 1, m.addr, 1, 1), func(m *identity.RollbackMark, err error) { done <- kept{m, err} })
	m.frame()
	ws := <-m.conns
	lie := depositedFrame{Type: typeDeposited, Mark: base64.StdEncoding.EncodeToString(mark(t, 2, m.addr, 9, 9))}
	if err := ws.Write(t.Context(), websocket.MessageText, encode(lie)); err != nil {
		t.Fatal(err)
	}
	if k := await(t, "the answer", done); !errors.Is(k.err, identity.ErrMismatch) || k.mark != nil {
		t.Errorf("a foreign mark: %+v", k)
	}
	alice.Deposit(mark(t, 1, m.addr, 1, 1), func(m *identity.RollbackMark, err error) { done <- kept{m, err} })
	m.frame()
	m.cut()
	if k := await(t, "the answer", done); !errors.Is(k.err, ErrDisconnected) {
		t.Errorf("cut: %+v", k)
	}
}

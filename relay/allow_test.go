package relay

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/relay/mailbox"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

var allowSalt = []byte(strings.Repeat("s", 16))

func hashText(who ...identity.AMID) string {
	var b []byte
	for _, w := range who {
		h := mailbox.HashFor(allowSalt, w)
		b = append(b, h[:]...)
	}
	return base64.StdEncoding.EncodeToString(b)
}

func saltText() string { return base64.StdEncoding.EncodeToString(allowSalt) }

func TestAllowFramesAreReadStrictly(t *testing.T) {
	a := identity.AMID([]byte("abcdefghijklmnopqrst"))
	// SHA-256("ssssssssssssssss" ‖ "abcdefghijklmnopqrst")[:16]
	if got, want := hashText(a), "BDqY66QqQNiMtwBux5ImuA=="; got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
	h, salt := hashText(a), saltText()
	for _, c := range []struct {
		name, in string
		form     allowForm
	}{
		{"set", `"version":1,"salt":"` + salt + `","set":"` + h + `"`, allowSet},
		{"set of nobody", `"version":1,"salt":"` + salt + `","set":""`, allowSet},
		{"add and remove", `"version":2,"add":"` + h + `","remove":"` + h + `"`, allowChange},
		{"add nobody", `"version":9007199254740991,"add":""`, allowChange},
		{"clear", `"version":3,"clear":true`, allowClear},
		{"nothing", `"version":3`, allowBroken},
		{"set without salt", `"version":1,"set":"` + h + `"`, allowBroken},
		{"salt that is no base64", `"version":1,"salt":"!","set":"` + h + `"`, allowBroken},
		{"hash too short", `"version":1,"salt":"` + salt + `","set":"` + h[:20] + `"`, allowBroken},
		{"hash not canonical", `"version":1,"salt":"` + salt + `","set":"` + strings.TrimRight(h, "=") + `"`, allowBroken},
		{"line break in a hash", `"version":1,"add":"` + h[:4] + `\n` + h[4:] + `"`, allowBroken},
		{"set is a list", `"version":1,"salt":"` + salt + `","set":["` + h + `"]`, allowBroken},
		{"set and add", `"version":1,"salt":"` + salt + `","set":"` + h + `","add":"` + h + `"`, allowBroken},
		{"add with salt", `"version":1,"salt":"` + salt + `","add":"` + h + `"`, allowBroken},
		{"clear and set", `"version":1,"clear":true,"salt":"` + salt + `","set":"` + h + `"`, allowBroken},
		{"clear that is not true", `"version":1,"clear":false`, allowBroken},
	} {
		got, err := parseClientFrame([]byte(`{"type":"allow",`+c.in+`}`), DefaultLimits())
		if f, ok := got.(allowFrame); err != nil || !ok || f.form != c.form || f.version == 0 {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	for _, version := range []string{`0`, `-1`, `9007199254740992`, `1.5`, `"1"`, `null`} {
		if got, err := parseClientFrame([]byte(`{"type":"allow","version":`+version+`,"clear":true}`), DefaultLimits()); err == nil {
			t.Errorf("version %s: %+v", version, got)
		}
	}
}

// Strangers may knock, few of them, and nothing else.
func TestStrangersMayOnlyKnock(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	bob, _ := h.join(2, ExtensionAck, ExtensionAllow)
	friend, _ := h.join(3, ExtensionAck)
	stranger, _ := h.join(4, ExtensionAck)
	old, _ := h.join(5)
	bob.writeText(`{"type":"allow","version":1,"salt":"` + saltText() + `","set":"` + hashText(friend.who) + `"}`)
	bob.want(object{"type": typeAllowed, "version": 1.0, "count": 1.0})

	friend.send(bob.who, "hello", "1")
	friend.want(object{"type": typeRelayed})
	stranger.send(bob.who, "hello", "1")
	if got := stranger.want(object{"type": typeRefused, "client_id": "1", "code": "not_allowed"}); got["retry_after_s"] != nil {
		t.Errorf("nothing to wait for: %v", got)
	}
	stranger.write(sendFrame{Type: typeSend, To: bob.who.String(), Payload: "k", Kind: KindKnock, ClientID: "2"})
	stranger.want(object{"type": typeRelayed})
	old.send(bob.who, "hello", "")
	old.want(object{"type": typeError, "code": CodeRecipientOffline})
	bob.want(object{"encrypted_payload": "hello", "from": friend.who.String()})
	bob.want(object{"encrypted_payload": "k", "from": stranger.who.String()})

	bob.writeText(`{"type":"allow","version":2,"add":"` + hashText(stranger.who) + `","remove":"` + hashText(friend.who) + `"}`)
	bob.want(object{"type": typeAllowed, "version": 2.0, "count": 1.0})
	stranger.send(bob.who, "known now", "3")
	stranger.want(object{"type": typeRelayed})
	friend.send(bob.who, "no more", "2")
	friend.want(object{"type": typeRefused, "code": "not_allowed"})

	// The list outlives its connection, and a new one has to set its own.
	bob.leave(h)
	friend.send(bob.who, "still not", "3")
	friend.want(object{"type": typeRefused, "code": "not_allowed"})
	bob, _ = h.join(2, ExtensionAck, ExtensionAllow)
	for range 3 {
		bob.want(object{"type": typeReceive})
	}
	bob.writeText(`{"type":"allow","version":1,"add":"` + hashText(friend.who) + `"}`)
	bob.want(object{"type": typeAllowed, "version": 1.0, "code": "out_of_order"})
	bob.writeText(`{"type":"allow","version":2,"clear":true}`)
	if got := bob.want(object{"type": typeAllowed, "version": 2.0}); len(got) != 2 {
		t.Errorf("cleared: %v", got)
	}
	friend.send(bob.who, "anybody", "4")
	friend.want(object{"type": typeRelayed})
}

func TestWrongListsChangeNothing(t *testing.T) {
	l := DefaultLimits()
	l.Mailbox.AllowEntries = 2
	h, _ := startRelay(t, l)
	bob, _ := h.join(2, ExtensionAck, ExtensionAllow)
	a, b, c := testKey(t, 3).AMID(), testKey(t, 4).AMID(), testKey(t, 5).AMID()
	for i, frame := range []struct{ in, code string }{
		{`"salt":"AAAA","set":"` + hashText(a) + `"`, "invalid"},
		{`"salt":"` + saltText() + `","set":"` + hashText(a, b, c) + `"`, "too_many"},
		{`"salt":"` + saltText() + `","set":"` + hashText(a, a, b) + `"`, ""},
		{`"add":"` + hashText(c) + `"`, "too_many"},
		{`"add":"` + hashText(c) + `","remove":"` + hashText(c) + `"`, ""},
		{`"set":"x"`, "invalid"},
		{`"add":"` + hashText(c) + `","remove":"` + hashText(a) + `"`, ""},
	} {
		bob.writeText(fmt.Sprintf(`{"type":"allow","version":%d,%s}`, i+1, frame.in))
		want := object{"type": typeAllowed, "version": float64(i + 1)}
		if frame.code != "" {
			want["code"] = frame.code
		} else {
			want["count"] = 2.0
		}
		if diff := cmp.Diff(want, bob.next()); diff != "" {
			t.Errorf("%s: %s", frame.in, diff)
		}
	}
	// Who did not name the extension is not heard.
	alice, _ := h.join(1, ExtensionAck)
	alice.writeText(`{"type":"allow","version":1,"clear":true}`)
	alice.quiet()
}

func TestAllowFramesHaveARate(t *testing.T) {
	l := DefaultLimits()
	l.QueryRate, l.QueryBurst, l.MaxDelay = 0.001, 3, 0
	h, _ := startRelay(t, l)
	bob, _ := h.join(2, ExtensionAck, ExtensionAllow)
	set := `"salt":"` + saltText() + `","set":""`
	for i := range 4 {
		bob.writeText(fmt.Sprintf(`{"type":"allow","version":%d,%s}`, i+1, set))
		got := bob.want(object{"type": typeAllowed, "version": float64(i + 1)})
		if limited := got["code"] == "rate_limited"; limited != (i == 3) {
			t.Errorf("frame %d: %v", i, got)
		}
	}
}

// Reading what is then ignored is work too (relay.md §5).
func TestIgnoredFramesCountAgainstTheRate(t *testing.T) {
	for _, frame := range []string{`{"type":`, `{"type":"unheard_of"}`, `{"type":"ping"}`} {
		l := DefaultLimits()
		l.QueryRate, l.QueryBurst, l.MaxDelay = 0.001, 3, 0
		h, _ := startRelay(t, l)
		bob, _ := h.join(2, ExtensionAck, ExtensionAllow)
		for range 3 {
			bob.writeText(frame)
		}
		bob.writeText(`{"type":"allow","version":1,"clear":true}`)
		if got := bob.want(object{"type": typeAllowed, "version": 1.0}); got["code"] != "rate_limited" {
			t.Errorf("behind three of %s: %v", frame, got)
		}
	}
}

// A frame that is long for nothing counts as several; a message, and a list, do not.
func TestLongFramesCountAgainstTheRate(t *testing.T) {
	long := strings.Repeat("A", 3*bulk)
	for frame, limited := range map[string]bool{
		`{"type":"ack","message_ids":["` + long + `"]}`:                                        true,
		`{"type":"ping","timestamp":"` + long + `"}`:                                           true,
		`{"type":"` + long + `"}`:                                                              true,
		`{"type":"ack","message_ids":["a"]}`:                                                   false,
		`{"type":"send","to":"a","encrypted_payload":"` + long + `","message_type":"message"}`: false,
	} {
		l := DefaultLimits()
		l.QueryRate, l.QueryBurst, l.MaxDelay = 0.001, 3, 0
		h, _ := startRelay(t, l)
		bob, _ := h.join(2, ExtensionAck, ExtensionAllow)
		bob.writeText(frame)
		bob.writeText(`{"type":"allow","version":1,"clear":true}`)
		got := bob.next()
		for got["type"] == typeError {
			got = bob.next() // the message is not to anybody
		}
		if (got["code"] == "rate_limited") != limited {
			t.Errorf("behind %.40s…: %v", frame, got)
		}
	}
}

// An older connection of the same agent must not put its list in the place of the
// newer one's.
func TestOnlyTheNewestConnectionSetsTheList(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	who := testKey(t, 2).AMID()
	h.join(2, ExtensionAck, ExtensionAllow)
	h.until("the first is registered", func(s *Server) bool { return s.find(who) != nil })
	older := h.server.find(who)
	h.join(2, ExtensionAck, ExtensionAllow)
	h.until("the second is registered", func(s *Server) bool { return s.find(who) != older })
	if code := older.enforce(allowing{salt: allowSalt, hashes: map[mailbox.AllowHash]struct{}{}}); code == "" {
		t.Error("a connection that was replaced set a list")
	}
	newer := h.server.find(who)
	if code := newer.enforce(allowing{salt: allowSalt, hashes: map[mailbox.AllowHash]struct{}{}}); code != "" {
		t.Error(code)
	}
}

// allow changes the list of an agent and waits for the answer.
func (a *agent) allow(add, remove []identity.AMID) error {
	a.t.Helper()
	done := make(chan error, 2)
	a.Allow(add, remove, func(err error) { done <- err })
	return await(a.t, "the answer to Allow", done)
}

func await[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("never: %s", what)
		panic("unreachable")
	}
}

func TestClientKeepsTheListInForce(t *testing.T) {
	h, disk := startRelay(t, Limits{})
	friend, stranger := testKey(t, 3).AMID(), testKey(t, 4).AMID()
	bob := newAgent(t, ClientConfig{URL: h.url(), Key: testKey(t, 2), Limits: quick()})
	bob.SetAllow([]identity.AMID{friend})
	bob.run()
	alice, carol := startAgent(t, 3, h.url(), quick()), startAgent(t, 4, h.url(), quick())
	say := func(a *agent, text string) error {
		return a.send(Outgoing{To: testKey(t, 2).AMID(), Kind: KindMessage, Payload: envelope(text)}).Err
	}
	check := func(when string, known, unknown *agent) {
		t.Helper()
		if err := say(known, when+" known"); err != nil {
			t.Errorf("%s: a known agent: %v", when, err)
		}
		var no *RefusedError
		if err := say(unknown, when+" unknown"); !errors.As(err, &no) || no.Code != RefusedNotAllowed {
			t.Errorf("%s: a stranger: %v", when, err)
		}
	}
	bob.connected()
	alice.connected()
	carol.connected()
	if err := bob.allow(nil, nil); err != nil {
		t.Fatal(err)
	}
	check("at first", alice, carol)
	if err := bob.allow([]identity.AMID{stranger}, []identity.AMID{friend}); err != nil {
		t.Fatal(err)
	}
	check("changed", carol, alice)
	// The list comes back with the connection, here to a relay that has forgotten it.
	h.shut()
	h.start(disk, Limits{})
	bob.connected()
	alice.connected()
	carol.connected()
	if err := bob.allow(nil, nil); err != nil {
		t.Fatal(err)
	}
	check("after a restart", carol, alice)
	bob.SetAllow(nil)
	if err := bob.allow([]identity.AMID{friend}, nil); err != nil {
		t.Fatal(err)
	}
	bob.SetAllow([]identity.AMID{friend})
	if err := bob.allow(nil, nil); err != nil {
		t.Fatal(err)
	}
	check("set anew", alice, carol)
}

// Without an answer to hope for, done comes all the same.
func TestAllowIsAlwaysSettled(t *testing.T) {
	who := []identity.AMID{testKey(t, 3).AMID()}
	m := newMute(t, []Extension{ExtensionAck})
	plain := newAgent(t, ClientConfig{URL: m.url(), Key: testKey(t, 1), Limits: quick(), AllowLegacy: true})
	if err := plain.allow(who, nil); err != nil {
		t.Errorf("without a list: %v", err)
	}
	plain.SetAllow(nil)
	plain.SetAllow([]identity.AMID{})
	if err := plain.allow(who, nil); !errors.Is(err, ErrDisconnected) {
		t.Errorf("without a connection: %v", err)
	}
	plain.run()
	plain.connected()
	if err := plain.allow(who, nil); err != nil {
		t.Errorf("a relay that does not know lists: %v", err)
	}

	m = newMute(t, []Extension{ExtensionAck, ExtensionAllow})
	cut := newAgent(t, ClientConfig{URL: m.url(), Key: testKey(t, 2), Limits: quick(), AllowLegacy: true})
	cut.SetAllow(who)
	cut.run()
	cut.connected()
	done := make(chan error, 2)
	cut.Allow(nil, who, func(err error) { done <- err })
	if frame := m.frame(); !strings.Contains(frame, `"set":`) {
		t.Errorf("the first frame is %s", frame)
	}
	m.cut()
	if err := await(t, "the end of Allow", done); !errors.Is(err, ErrDisconnected) {
		t.Errorf("cut: %v", err)
	}
}

// What changes while the relay owes an answer goes together, and a list that was not
// taken is sent again.
func TestListChangesShareFrames(t *testing.T) {
	m := newMute(t, []Extension{ExtensionAck, ExtensionAllow})
	l := quick()
	l.ClientPing = time.Hour
	bob := newAgent(t, ClientConfig{URL: m.url(), Key: testKey(t, 2), Limits: l, AllowLegacy: true})
	a, b := testKey(t, 3).AMID(), testKey(t, 4).AMID()
	bob.SetAllow([]identity.AMID{a})
	bob.run()
	bob.connected()
	ws := <-m.conns
	next := func() (f allowFrame) {
		t.Helper()
		frame, err := parseClientFrame([]byte(m.frame()), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		return frame.(allowFrame)
	}
	answer := func(f allowFrame, code RefusalCode) {
		t.Helper()
		if err := ws.Write(t.Context(), websocket.MessageText, encode(allowedFrame{Type: typeAllowed, Version: f.version, Code: code})); err != nil {
			t.Fatal(err)
		}
	}
	first := next()
	done := make(chan error, 2)
	bob.Allow([]identity.AMID{b}, nil, func(err error) { done <- err })
	bob.Send(Outgoing{To: a, Kind: KindMessage, Payload: envelope("x")}, func(Result) {})
	if frame := m.frame(); !strings.Contains(frame, `"type":"send"`) {
		t.Errorf("while an answer is owed: %s", frame)
	}
	bob.Allow([]identity.AMID{a}, []identity.AMID{a}, func(err error) { done <- err })
	answer(first, RefusedRateLimited)
	second := next()
	if first.form != allowSet || second.form != allowChange || len(second.add) != 1 || len(second.remove) != 1 ||
		second.add[0] != mailbox.HashFor(first.salt, b) || second.remove[0] != mailbox.HashFor(first.salt, a) {
		t.Errorf("frames %+v, %+v", first, second)
	}
	answer(second, RefusedOutOfOrder)
	for range 2 {
		var no *RefusedError
		if err := await(t, "the answer", done); !errors.As(err, &no) || no.Code != RefusedOutOfOrder {
			t.Errorf("answer %v", err)
		}
	}
	bob.setAgain(bob.current()) // as every beat does
	third := next()
	if third.form != allowSet || len(third.add) != 1 || third.add[0] != mailbox.HashFor(third.salt, b) {
		t.Errorf("sent again: %+v", third)
	}
	bob.Allow(nil, nil, func(err error) { done <- err })
	answer(third, "")
	answer(next(), "")
	if err := await(t, "the answer", done); err != nil {
		t.Error(err)
	}
}

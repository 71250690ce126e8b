package sdk_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestWithJavaScriptRelay(t *testing.T) { conversations(t, javaScript(t)) }
func TestWithPythonRelay(t *testing.T)     { conversations(t, python(t)) }

// conversations is what a client of 0.2 does with a relay, all but its sealing.
func conversations(t *testing.T, l language) {
	r := startRelay(t)
	for _, c := range []struct {
		name string
		run  func(*testing.T, language, *relay)
	}{
		{"presence", presence},
		{"mail between two", mailBetweenTwo},
		{"mail for one who is away (d)", mailForOneAway},
		{"a message and a knock too many (e)", oneTooMany},
		{"two connections of one agent (f)", twoConnections},
		{"candidates", candidates},
		{"frames the reference does not know", extraFrames},
		{"a refused send", refusedSend},
		{"leaving", leaving},
		{"a refused connect", refusedConnect},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, l, r) })
	}
	if l.real {
		t.Log("with the SDK itself")
	} else {
		t.Logf("without the SDK: AMESH_SDK_%s names no folder", map[string]string{"JavaScript": "JS", "Python": "PY"}[l.name])
	}
}

func presence(t *testing.T, l language, r *relay) {
	alice, bob := l.join(t, r), l.join(t, r)
	bob.do("presence", object{"status": "dnd"})
	bob.quiet()
	alice.do("query", object{"amid": bob.amid})
	if got := alice.want(object{"type": "presence_response", "amid": bob.amid, "status": "dnd"}); got["last_seen"] == nil {
		t.Errorf("no last_seen: %v", got)
	}
	alice.do("query", object{"amid": "3QjuXXdCYYk6MbRqjFYt1JA9uS8p"})
	if got := alice.want(object{"type": "presence_response", "status": "offline"}); got["last_seen"] != nil {
		t.Errorf("somebody away was seen: %v", got)
	}
}

func mailBetweenTwo(t *testing.T, l language, r *relay) {
	alice, bob := l.join(t, r), l.join(t, r)
	payload := "{\"a\":\"\\u2028<&>\u2028 漢 \U0001F600 \x7f\\\"\"}"
	for _, kind := range []string{"knock", "accept", "reject", "message", "close", "status", "optimistic_message"} {
		alice.send(bob.amid, payload, kind)
		got := bob.want(object{"type": "receive", "from": alice.amid, "encrypted_payload": payload, "message_type": kind})
		at, err := time.Parse("2006-01-02T15:04:05.999999Z", got["timestamp"].(string))
		if err != nil || time.Since(at) > time.Minute || len(got) != 5 {
			t.Errorf("got %v: %v", got, err)
		}
		bob.send(alice.amid, kind, "message")
		alice.want(object{"type": "receive", "encrypted_payload": kind})
	}
	long := strings.Repeat("x", 64<<10)
	alice.send(bob.amid, long, "message")
	bob.want(object{"encrypted_payload": long})
	bob.quiet()
}

// Every message comes once, though the relay is killed between the two.
func mailForOneAway(t *testing.T, l language, r *relay) {
	const n = 40
	alice, bob := l.join(t, r), l.make(t, r)
	for i := range n {
		alice.send(bob.amid, fmt.Sprint(i), "message")
	}
	alice.quiet()
	r.kill()
	r.start()
	bob.connect()
	if got := bob.state(); got["pending"] != float64(n) {
		t.Errorf("state: %v", got)
	}
	next := 0
	for next < n {
		got := bob.take("mail", &bob.handled).(object)
		if got["type"] == "pending_messages" {
			continue
		}
		if got["encrypted_payload"] != fmt.Sprint(next) {
			t.Fatalf("message %d expected, got %v", next, got)
		}
		next++
	}
	bob.quiet()
	bob.leave()
	bob.connect()
	if got := bob.state(); got["pending"] != 0.0 {
		t.Errorf("the second time: %v", got)
	}
	bob.quiet()
}

func oneTooMany(t *testing.T, l language, r *relay) {
	for kind, most := range map[string]int{"message": 100, "knock": 30} {
		alice, bob := l.join(t, r), l.make(t, r)
		for range most {
			alice.send(bob.amid, "x", kind)
		}
		alice.quiet()
		alice.send(bob.amid, "one too many", kind)
		got := alice.wantError("RATE_LIMITED")
		if after := got["retry_after_seconds"].(float64); after < 1 || after > 60 || got["error"] != got["message"] {
			t.Errorf("%v", got)
		}
		alice.quiet()
		if got := alice.state()["connected"]; got == l.errorEnds {
			t.Errorf("after the error the client says connected=%v", got)
		}
		bob.connect()
		if got := bob.state()["pending"]; got != float64(most) {
			t.Errorf("%v of %d stored", got, most)
		}
	}
}

func twoConnections(t *testing.T, l language, r *relay) {
	alice, bob := l.join(t, r), l.join(t, r)
	older := bob.state()["session"]
	// The same client opens a second connection beside the first, as a restart
	// does whose old socket is not gone yet.
	bob.do("transport", object{"url": r.url, "delay": time.Minute.Milliseconds()})
	bob.connect()
	if l.comesBack {
		if code := bob.take("close of the older", &bob.closed); code != 4000.0 {
			t.Errorf("older closed with %v", code)
		}
	}
	if newer := bob.state(); newer["session"] == older || newer["connected"] != true {
		t.Errorf("newer: %v after %v", newer, older)
	}
	alice.send(bob.amid, "still there?", "message")
	bob.want(object{"encrypted_payload": "still there?"})
	alice.do("query", object{"amid": bob.amid})
	alice.want(object{"status": "online"})
	bob.quiet()
}

func candidates(t *testing.T, l language, r *relay) {
	alice, bob := l.join(t, r), l.join(t, r)
	const list = `[{"candidate":"candidate:1 1 udp 1 192.0.2.1 5 typ host","sdp_mid":"0","sdp_mline_index":0}]`
	alice.raw(`{"type":"ice_offer","to":"` + bob.amid + `","sdp":"v=0","candidates":` + list + `}`)
	if got := bob.want(object{"type": "ice_offer", "to": alice.amid, "sdp": "v=0"}); len(got["candidates"].([]any)) != 1 {
		t.Errorf("%v", got)
	}
	bob.raw(`{"type":"ice_answer","to":"` + alice.amid + `","sdp":"v=1","candidates":[]}`)
	alice.want(object{"type": "ice_answer", "to": bob.amid, "sdp": "v=1"})
	alice.raw(`{"type":"p2p_established","peer":"` + bob.amid + `"}`)
	bob.want(object{"type": "p2_p_established", "peer": alice.amid})
	alice.do("send", object{"to": bob.amid, "payload": "x", "kind": "message", "candidates": []any{object{"candidate": "c"}}})
	one := bob.want(object{"type": "receive"})["ice_candidates"].([]any)[0].(object)
	if mid, has := one["sdp_mid"]; one["candidate"] != "c" || mid != nil || !has {
		t.Errorf("%v", one)
	}
}

func extraFrames(t *testing.T, l language, r *relay) {
	alice, bob := l.join(t, r), l.join(t, r)
	if l.comesBack {
		alice.do("optimistic", object{"to": bob.amid, "knock": "k", "payload": "m", "kind": "optimistic_message"})
		alice.do("pull", nil)
	} else {
		alice.raw(`{"type":"knock_with_message","to":"` + bob.amid + `","knock_payload":"k","message_payload":"m","message_type":"optimistic_message"}`)
		alice.do("ping", nil)
	}
	bob.want(object{"encrypted_payload": "k", "message_type": "knock"})
	bob.want(object{"encrypted_payload": "m", "message_type": "optimistic_message"})
	alice.raw(`{"type":"ack","message_id":"x"}`)
	alice.raw(`{"type":"nack","message_id":"x","reason":"processing_failed"}`)
	alice.quiet()
	if alice.state()["connected"] != true {
		t.Error("no longer connected")
	}
}

// An error frame ends the JavaScript SDK's connection, in its own view only.
func refusedSend(t *testing.T, l language, r *relay) {
	alice, bob := l.join(t, r), l.join(t, r)
	alice.send(bob.amid, strings.Repeat("x", 64<<10+1), "message")
	alice.wantError("MESSAGE_TOO_LARGE")
	if got := alice.state()["connected"]; got == l.errorEnds {
		t.Errorf("after the error the client says connected=%v", got)
	}
	if _, failed := alice.try("send", object{"to": bob.amid, "payload": "x", "kind": "message"}); (failed != "") != l.errorEnds {
		t.Errorf("the next send: %q", failed)
	}
	// The socket lives on: mail still comes.
	bob.send(alice.amid, "are you there?", "message")
	alice.want(object{"encrypted_payload": "are you there?"})
	if !l.errorEnds {
		bob.want(object{"encrypted_payload": "x"})
	}
	bob.quiet()
}

func leaving(t *testing.T, l language, r *relay) {
	alice, bob := l.join(t, r), l.join(t, r)
	bob.leave()
	for end := time.Now().Add(patience); ; {
		alice.do("query", object{"amid": bob.amid})
		if alice.want(object{"type": "presence_response"})["status"] == "offline" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("never offline")
		}
	}
	alice.send(bob.amid, "for later", "message")
	alice.quiet()
	bob.connect()
	bob.want(object{"encrypted_payload": "for later"})
}

// Both clients hear the refusal; by a silent close the JavaScript SDK would wait ten
// seconds for what does not come.
func refusedConnect(t *testing.T, l language, r *relay) {
	mallory := l.make(t, r)
	mallory.do("claim", object{"amid": "3QjuXXdCYYk6MbRqjFYt1JA9uS8p"})
	if got := mallory.do("connect", nil); got != false {
		t.Errorf("connect: %v", got)
	}
	if l.comesBack {
		mallory.wantError("INVALID_SIGNATURE")
		if code := mallory.take("close", &mallory.closed); code != 4001.0 {
			t.Errorf("closed with %v", code)
		}
	}
	mallory.do("claim", object{"amid": mallory.amid})
	mallory.connect()
	mallory.quiet()
}

package sdk_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Scenario (c): two agents seal with the low-level classes of the JavaScript SDK and
// meet over the relay, one of them away for a part of it.
func TestWithJavaScriptSealing(t *testing.T) {
	l := javaScript(t)
	if !l.real {
		t.Log("nothing to prove without the SDK: AMESH_SDK_JS names no folder")
		return
	}
	r := startRelay(t)
	alice, bob := l.join(t, r), l.join(t, r)
	bundle := bob.do("prekeys", nil)
	alice.do("prekeys", nil)

	first := alice.do("initiate", object{"amid": bob.amid, "bundle": bundle, "key": bob.key}).(object)
	alice.sendObject(bob.amid, "knock", first["x3dh"])
	second := bob.do("accept", object{"amid": alice.amid, "x3dh": bob.wantObject("knock")}).(object)
	bob.sendObject(alice.amid, "accept", second["ratchet"])
	alice.do("activate", object{"session": first["session"], "ratchet": alice.wantObject("accept")})

	talk := func(from, to *driver, here, there any, n int) {
		t.Helper()
		for i := range n {
			message := object{"from": from.amid, "n": float64(i), "text": "<ä\u2028>"}
			from.sendObject(to.amid, "message", from.do("encrypt", object{"session": here, "message": message}))
			got := to.do("decrypt", object{"session": there, "envelope": to.wantObject("message")})
			if diff := cmp.Diff(any(message), got); diff != "" {
				t.Fatal(diff)
			}
		}
	}
	for range 3 {
		talk(alice, bob, first["session"], second["session"], 3)
		talk(bob, alice, second["session"], first["session"], 2)
	}

	bob.leave()
	for i := range 5 {
		sealed := alice.do("encrypt", object{"session": first["session"], "message": object{"n": float64(i)}})
		alice.sendObject(bob.amid, "message", sealed)
	}
	alice.quiet()
	bob.connect()
	for i := range 5 {
		got := bob.do("decrypt", object{"session": second["session"], "envelope": bob.wantObject("message")})
		if diff := cmp.Diff(any(object{"n": float64(i)}), got); diff != "" {
			t.Fatal(diff)
		}
	}
	talk(bob, alice, second["session"], first["session"], 1)
}

// Scenario (b): the high-level client of the JavaScript SDK registers, connects, sends
// without sealing and closes. Its peer is on the low-level classes, because the
// prekeys that the high-level client uploads are not signed.
func TestWithJavaScriptHighLevel(t *testing.T) {
	l := javaScript(t)
	if !l.real {
		t.Log("nothing to prove without the SDK: AMESH_SDK_JS names no folder")
		return
	}
	r, book := startRelay(t), startRegistry(t)
	alice, bob := l.make(t, r), l.join(t, r)
	bob.registers(book, r.url, "chat")
	mine := bob.do("prekeys", nil).(object)
	if bob.asks("uploadPrekeys", mine["signed_prekey"], mine["signed_prekey_signature"], mine["signed_prekey_id"],
		mine["one_time_prekeys"]) != true {
		t.Fatal("bob's prekeys were not taken")
	}
	if alice.do("openClient", object{"relay": r.url, "registry": book}) != true {
		t.Fatal("the client is not connected")
	}
	alice.do("clientSend", object{"to": bob.amid, "message": object{"hello": "<bob>"}})
	bob.want(object{"type": "receive", "from": alice.amid, "message_type": "message", "encrypted_payload": `{"hello":"<bob>"}`})
	alice.do("clientKill", object{"to": bob.amid})
	bob.want(object{"type": "receive", "from": alice.amid, "message_type": "close"})
	alice.do("closeClient", nil)
	alice.take("close", &alice.closed)
}

// Scenario (a): the high-level client of the Python SDK registers, connects, knocks,
// is accepted, and sends a message that it sealed, which arrives as it left. More
// than this its receiver cannot do.
func TestWithPythonHighLevel(t *testing.T) {
	l := python(t)
	if !l.real {
		t.Log("nothing to prove without the SDK: AMESH_SDK_PY names no folder")
		return
	}
	r, book := startRelay(t), startRegistry(t)
	open := func() *driver {
		d := l.start(t)
		got := d.do("open_client", object{"relay": r.url, "registry": book}).(object)
		if got["registered"] != true || got["connected"] != true {
			t.Fatalf("client: %v", got)
		}
		d.amid = got["amid"].(string)
		return d
	}
	alice, bob := open(), open()
	// The answer never comes, so this is the time the test waits for it.
	if got := alice.do("client_send", object{"to": bob.amid, "intent": "travel/flights", "timeout": 2}); got != nil {
		t.Errorf("an answer: %v", got)
	}
	knock := bob.want(object{"type": "receive", "from": alice.amid, "message_type": "knock"})
	if !strings.Contains(knock["encrypted_payload"].(string), `"travel"`) {
		t.Errorf("knock: %v", knock)
	}
	alice.want(object{"type": "receive", "from": bob.amid, "message_type": "accept"})
	sealed := bob.want(object{"type": "receive", "from": alice.amid, "message_type": "message"})
	if strings.Contains(sealed["encrypted_payload"].(string), "travel") {
		t.Errorf("not sealed: %v", sealed)
	}
	alice.do("close_client", nil)
	bob.do("close_client", nil)
}

func (d *driver) sendObject(to, kind string, v any) {
	d.t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		d.t.Fatal(err)
	}
	d.send(to, string(text), kind)
}

func (d *driver) wantObject(kind string) any {
	d.t.Helper()
	got := d.want(object{"type": "receive", "message_type": kind})
	var v any
	if err := json.Unmarshal([]byte(got["encrypted_payload"].(string)), &v); err != nil {
		d.t.Fatal(err)
	}
	return v
}

package sdk_test

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
)

// startRegistry runs a registry in a process of its own and returns what a client
// takes for its URL.
func startRegistry(t *testing.T) string {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GITHUB_CLIENT_ID", "amesh-test")
	t.Setenv("GITHUB_CLIENT_SECRET", "not a secret")
	t.Setenv("OAUTH_CALLBACK_BASE_URL", "http://127.0.0.1")
	proc, url := run(t, binary, t.TempDir(), "registry", "--listen", "127.0.0.1:0")
	t.Cleanup(func() {
		_ = proc.Process.Kill()
		_ = proc.Wait()
	})
	return url + "/v1"
}

func TestWithJavaScriptRegistry(t *testing.T) { everyCall(t, javaScript(t)) }

func TestWithPythonRegistry(t *testing.T) { everyCall(t, python(t)) }

// everyCall makes every call that the client of a registry has.
func everyCall(t *testing.T, l language) {
	book := startRegistry(t)
	open := func(capabilities ...string) *driver {
		d := l.start(t)
		me := d.do("identity", nil).(object)
		d.amid, d.key = me["amid"].(string), me["key"].(string)
		d.registers(book, "wss://relay.example/v1/connect", capabilities...)
		return d
	}
	alice, bob := open("chat"), open("travel/flights", "chat")

	if got := alice.asked("healthCheck").(object); got["status"] != "ok" && got["status"] != "healthy" {
		t.Errorf("health: %v", got)
	}
	if got := bob.register(book, "wss://other.example/v1/connect", "travel/flights", "chat"); got[l.word("alreadyRegistered")] != true {
		t.Errorf("registered twice: %v", got)
	}
	agent := alice.asked("lookup", bob.amid).(object)
	if agent["amid"] != bob.amid || agent["tier"] != "anonymous" || agent[l.word("signingPublicKey")] != bob.key ||
		agent[l.word("relayEndpoint")] != "wss://other.example/v1/connect" {
		t.Errorf("lookup: %v, whose key is %s", agent, bob.key)
	}
	if key, err := base64.StdEncoding.DecodeString(agent[l.word("exchangePublicKey")].(string)); err != nil || len(key) != 32 {
		t.Errorf("exchange key of the lookup: %v, %d bytes", err, len(key))
	}
	if got := alice.asked("lookup", strings.Repeat("1", 20)); got != nil {
		t.Errorf("lookup of nobody: %v", got)
	}
	if got := alice.found("travel/flights"); !slices.Equal(got, []string{bob.amid}) {
		t.Errorf("search: %v", got)
	}

	if alice.asks("updateStatus", "online") != true || alice.asks("updateCapabilities", []string{"sums", "chat"}) != true {
		t.Error("status or capabilities were not taken")
	}
	if got := alice.asked("lookup", alice.amid).(object); got["status"] != "online" || len(got["capabilities"].([]any)) != 2 {
		t.Errorf("after that: %v", got)
	}
	if got := bob.found("sums"); !slices.Equal(got, []string{alice.amid}) {
		t.Errorf("search for what is new: %v", got)
	}
	prekeys(alice, bob)
	standing(alice, bob)
}

// prekeys uploads and fetches them: a one-time key is served once.
func prekeys(alice, bob *driver) {
	t, l := alice.t, alice.lang
	t.Helper()
	key := func(fill byte) string { return base64.StdEncoding.EncodeToString(slices.Repeat([]byte{fill}, 32)) }
	signature := bob.do("signature", object{"text": key(9)})
	once := []object{{"id": 1, "key": key(11)}, {"id": 2, "key": key(12)}}
	if bob.asks("uploadPrekeys", key(9), signature, 7, once) != true {
		t.Error("prekeys were not taken")
	}
	seen := map[any]bool{}
	for range 3 {
		got := alice.asked("getPrekeys", bob.amid).(object)
		if got[l.word("signedPrekey")] != key(9) || got[l.word("signedPrekeySignature")] != signature || got[l.word("signedPrekeyId")] != 7.0 {
			t.Errorf("prekeys: %v", got)
		}
		list, _ := got[l.word("oneTimePrekeys")].([]any)
		for _, k := range list {
			name := k.(object)["id"]
			if seen[name] {
				t.Errorf("one-time key %v was served twice", name)
			}
			seen[name] = true
		}
	}
	if len(seen) != len(once) {
		t.Errorf("%d one-time keys were served, %d are there", len(seen), len(once))
	}
	if got := bob.asked("getPrekeys", alice.amid); got != nil {
		t.Errorf("prekeys of somebody who has none: %v", got)
	}
}

// standing is proving a human, reputation and revocation.
func standing(alice, bob *driver) {
	t, l := alice.t, alice.lang
	t.Helper()
	if got, _ := alice.asked("getOAuthProviders").([]any); len(got) == 0 {
		t.Error("no provider is named")
	}
	started, _ := alice.asks("startOAuthVerification", "github").(object)
	if url, _ := started[l.word("authorizationUrl")].(string); !strings.HasPrefix(url, "http") || started["state"] == "" {
		t.Errorf("verification: %v", started)
	}
	if got := alice.asks("startOAuthVerification", "nobody"); got != nil {
		t.Errorf("verification by nobody: %v", got)
	}
	if got := alice.asked("getVerificationStatus", bob.amid).(object); got["tier"] != "anonymous" || got[l.word("isVerified")] != false {
		t.Errorf("verification of bob: %v", got)
	}
	const session = "0b6c2f0e-6a0c-4a53-9d62-0f7c3b1a2d4e"
	if alice.asks("submitReputation", bob.amid, session, 0.9, []string{"accurate"}) != true {
		t.Error("a rating was not taken")
	}
	if alice.asks("submitReputation", alice.amid, session, 1, nil) == true {
		t.Error("somebody rated herself")
	}
	if got := alice.asked("checkRevocation", bob.amid).(object); got["revoked"] != false {
		t.Errorf("revocation: %v", got)
	}
	if l.snake { // no other client has the call
		if got := bob.asks("revokeAgent", alice.amid, "admin_request").(object); got["success"] == true {
			t.Errorf("bob revoked alice: %v", got)
		}
		if got := bob.asks("revokeAgent", bob.amid, "superseded").(object); got["success"] != true {
			t.Errorf("bob could not revoke himself: %v", got)
		}
		if got := alice.asked("checkRevocation", bob.amid).(object); got["revoked"] != true {
			t.Errorf("revocation after it: %v", got)
		}
	}
	many := alice.asked("bulkCheckRevocation", []string{alice.amid, bob.amid})
	if o, is := many.(object); is {
		many = o["revocations"]
	}
	if list, _ := many.([]any); len(list) != 2 || list[1].(object)["revoked"] != l.snake {
		t.Errorf("revocations: %v", many)
	}
}

func (d *driver) registers(book, relay string, capabilities ...string) {
	d.t.Helper()
	if got := d.register(book, relay, capabilities...); got["success"] != true || got["tier"] != "anonymous" {
		d.t.Fatalf("register: %v", got)
	}
}

func (d *driver) register(book, relay string, capabilities ...string) object {
	d.t.Helper()
	d.do("registry", object{"url": book})
	if d.lang.snake {
		return d.asks("register", "someone", capabilities, relay).(object)
	}
	return d.asks("register", object{"displayName": "someone", "capabilities": capabilities, "relayEndpoint": relay}).(object)
}

// found is who has a capability.
func (d *driver) found(capability string) (amids []string) {
	d.t.Helper()
	var list []any
	if d.lang.snake {
		list = d.asked("search", capability).([]any)[0].([]any)
	} else {
		list = d.asked("search", object{"capability": capability}).(object)["results"].([]any)
	}
	for _, a := range list {
		amids = append(amids, a.(object)["amid"].(string))
	}
	return amids
}

// asks makes a signed call of the client's.
func (d *driver) asks(call string, args ...any) any { return d.call(call, true, args) }

// asked makes a call that anybody could make.
func (d *driver) asked(call string, args ...any) any { return d.call(call, false, args) }

func (d *driver) call(call string, signed bool, args []any) any {
	d.t.Helper()
	if args == nil {
		args = []any{}
	}
	return d.do("ask", object{"call": d.lang.word(call), "args": args, "signed": signed})
}

// word is a name as the language writes it.
func (l language) word(camel string) string {
	if !l.snake {
		return camel
	}
	if camel == "getOAuthProviders" || camel == "startOAuthVerification" {
		camel = strings.Replace(camel, "OAuth", "Oauth", 1)
	}
	var out strings.Builder
	for _, c := range camel {
		if c >= 'A' && c <= 'Z' {
			out.WriteByte('_')
			c += 'a' - 'A'
		}
		out.WriteRune(c)
	}
	return out.String()
}

package amtp_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"amesh/gateway/amtp"
)

// with returns a minimal message with these members more.
func with(members string) string {
	s := `{"sender":"a@a.test","recipients":["b@b.test"],"payload":{}`
	if members != "" {
		s += "," + members
	}
	return s + "}"
}

func attachment(filename, kind, size, hash, url string) string {
	return with(`"attachments":[{"filename":"` + filename + `","content_type":"` + kind + `","size":` + size +
		`,"hash":"` + hash + `","url":"` + url + `"}]`)
}

func TestRefusesWithTheCodeOfTheRule(t *testing.T) {
	t.Parallel()
	many := strings.Repeat(`"x@b.test",`, amtp.MaxRecipients) + `"y@b.test"`
	for _, c := range []struct {
		name, body string
		code       amtp.Code
	}{
		{"nothing", ``, amtp.CodeInvalidRequestFormat},
		{"text", `hello`, amtp.CodeInvalidRequestFormat},
		{"array", `[]`, amtp.CodeInvalidRequestFormat},
		{"trailing data", with("") + `{}`, amtp.CodeInvalidRequestFormat},
		{"member twice", with(`"subject":"a","subject":"b"`), amtp.CodeInvalidRequestFormat},
		{"member twice in the payload", `{"sender":"a@a.test","recipients":["b@b.test"],"payload":{"x":1,"x":2}}`, amtp.CodeInvalidRequestFormat},
		{"number beyond a double", with(`"zzz":1e999`), amtp.CodeInvalidRequestFormat},
		{"depth bomb", with(`"zzz":` + strings.Repeat("[", amtp.MaxDepth) + strings.Repeat("]", amtp.MaxDepth)), amtp.CodeInvalidRequestFormat},
		{"not UTF-8", with("\"subject\":\"\xff\""), amtp.CodeInvalidRequestFormat},
		{"subject a number", with(`"subject":1`), amtp.CodeInvalidRequestFormat},
		{"headers a list", with(`"headers":[]`), amtp.CodeInvalidRequestFormat},
		{"signature text", with(`"signature":"x"`), amtp.CodeInvalidRequestFormat},
		{"coordination text", with(`"coordination":"x"`), amtp.CodeInvalidRequestFormat},
		{"attachments an object", with(`"attachments":{}`), amtp.CodeInvalidRequestFormat},
		{"attachment a number", with(`"attachments":[1]`), amtp.CodeInvalidRequestFormat},
		{"recipients text", `{"sender":"a@a.test","recipients":"b@b.test"}`, amtp.CodeInvalidRequestFormat},
		{"recipient a number", `{"sender":"a@a.test","recipients":[1]}`, amtp.CodeInvalidRequestFormat},

		{"no sender", `{"recipients":["b@b.test"]}`, amtp.CodeValidationFailed},
		{"sender null", `{"sender":null,"recipients":["b@b.test"]}`, amtp.CodeValidationFailed},
		{"no recipients", `{"sender":"a@a.test"}`, amtp.CodeValidationFailed},
		{"empty recipients", `{"sender":"a@a.test","recipients":[]}`, amtp.CodeValidationFailed},
		{"too many recipients", `{"sender":"a@a.test","recipients":[` + many + `]}`, amtp.CodeValidationFailed},
		{"bad sender", `{"sender":"a","recipients":["b@b.test"]}`, amtp.CodeValidationFailed},
		{"display name", `{"sender":"a@a.test","recipients":["Bob <b@b.test>"]}`, amtp.CodeValidationFailed},
		{"long subject", with(`"subject":"` + strings.Repeat("x", amtp.MaxSubject+1) + `"`), amtp.CodeValidationFailed},
		{"large headers", with(`"headers":{"x":"` + strings.Repeat("x", amtp.MaxHeaders) + `"}`), amtp.CodeValidationFailed},
		{"version 4 id", with(`"message_id":"6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0aa"`), amtp.CodeValidationFailed},
		{"id without hex", with(`"message_id":"0192f0c1-7a10-7c3e-9d55-2b8f6f0a1ezz"`), amtp.CodeValidationFailed},
		{"id of another variant", with(`"message_id":"0192f0c1-7a10-7c3e-1d55-2b8f6f0a1e01"`), amtp.CodeValidationFailed},
		{"no filename", attachment("", "a/b", "1", "md5:ab", "https://x.test"), amtp.CodeValidationFailed},
		{"no content type", attachment("f", "", "1", "md5:ab", "https://x.test"), amtp.CodeValidationFailed},
		{"negative size", attachment("f", "a/b", "-1", "md5:ab", "https://x.test"), amtp.CodeValidationFailed},
		{"half a byte", attachment("f", "a/b", "1.5", "md5:ab", "https://x.test"), amtp.CodeInvalidRequestFormat},
		{"no hash", attachment("f", "a/b", "1", "", "https://x.test"), amtp.CodeValidationFailed},
		{"unknown hash", attachment("f", "a/b", "1", "crc:ab", "https://x.test"), amtp.CodeValidationFailed},
		{"hash without hex", attachment("f", "a/b", "1", "md5:xy", "https://x.test"), amtp.CodeValidationFailed},
		{"no url", attachment("f", "a/b", "1", "md5:ab", ""), amtp.CodeValidationFailed},
		{"file url", attachment("f", "a/b", "1", "md5:ab", "file:///etc/passwd"), amtp.CodeValidationFailed},
		{"url without host", attachment("f", "a/b", "1", "md5:ab", "https:///x"), amtp.CodeValidationFailed},

		{"key of no version", with(`"idempotency_key":"abc"`), amtp.CodeMessageValidationFailed},
		{"key of version 7", with(`"idempotency_key":"0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01"`), amtp.CodeMessageValidationFailed},
		{"in_reply_to of no version", with(`"in_reply_to":"x"`), amtp.CodeMessageValidationFailed},
		{"schema without version", with(`"schema":"agntcy:a.b"`), amtp.CodeMessageValidationFailed},
		{"schema of two parts", with(`"schema":"agntcy:test.v1"`), amtp.CodeMessageValidationFailed},
		{"schema of four parts", with(`"schema":"agntcy:a.b.v1.v2"`), amtp.CodeMessageValidationFailed},
		{"schema of another kind", with(`"schema":"acme:a.b.v1"`), amtp.CodeMessageValidationFailed},
		{"other version", with(`"version":"9.9"`), amtp.CodeUnsupportedVersion},
		{"garbage time", with(`"timestamp":"garbage"`), amtp.CodeInvalidTimestamp},
		{"time without zone", with(`"timestamp":"2026-11-20T09:00:00"`), amtp.CodeInvalidTimestamp},
	} {
		_, err := amtp.Parse([]byte(c.body), amtp.Rules{Now: now})
		var e *amtp.Error
		if !errors.As(err, &e) || e.Code != c.code || e.Status != 400 {
			t.Errorf("%s: got %v, want %s", c.name, err, c.code)
		}
	}
}

func TestRefusesMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	body := []byte(with(""))
	if _, err := amtp.Parse(body, amtp.Rules{MaxSize: int64(len(body))}); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	var e *amtp.Error
	_, err := amtp.Parse(body, amtp.Rules{MaxSize: int64(len(body)) - 1})
	if !errors.As(err, &e) || e.Status != 413 || e.Code != amtp.CodePayloadTooLarge {
		t.Errorf("beyond it: %v", err)
	}
}

// agentry sends all members always, and a workflow step without id, key or time.
func TestTakesAgentrysOutboundForm(t *testing.T) {
	t.Parallel()
	m, err := amtp.Parse([]byte(`{"attachments":null,"coordination":null,"headers":null,"idempotency_key":"","in_reply_to":"",`+
		`"message_id":"","payload":{"seq":2},"recipients":["r@hook.local"],"response_type":"","schema":"","sender":"boss@a.local",`+
		`"signature":null,"subject":"","timestamp":"0001-01-01T00:00:00Z","version":""}`), amtp.Rules{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if !m.Timestamp.Equal(now) || !m.IDMinted || !m.KeyDerived || m.Signed || m.Headers != nil || m.Version != amtp.Version {
		t.Errorf("got %+v", m)
	}
}

func TestTakesAnyPayloadAndMakesAMissingOneAnObject(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{`"text"`, `1`, `[1]`, `null`, `true`, `{"a":"<b>"}`} {
		m, err := amtp.Parse([]byte(`{"sender":"a@a.test","recipients":["b@b.test"],"payload":`+payload+`}`), amtp.Rules{})
		if err != nil || string(m.Payload) != payload {
			t.Errorf("%s: got %s, %v", payload, m.Payload, err)
		}
	}
	m, err := amtp.Parse([]byte(`{"sender":"a@a.test","recipients":["b@b.test"]}`), amtp.Rules{})
	if err != nil || string(m.Payload) != "{}" {
		t.Errorf("missing: got %s, %v", m.Payload, err)
	}
}

func TestLenientRulesMapTheSDKsIDs(t *testing.T) {
	t.Parallel()
	const id = "6C0A1c52-6c7e-4a54-8d59-51c2b1a7f0aa"
	body := []byte(with(`"message_id":"` + id + `","in_reply_to":"` + id + `","timestamp":"2026-11-20T09:00:00Z","headers":{"a":1}`))
	first, err := amtp.Parse(body, amtp.Rules{Now: now, Lenient: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := amtp.CheckMessageID(first.MessageID); err != nil || first.OriginalID != id ||
		string(first.Headers) != `{"a":1,"amtp-original-message-id":"`+id+`"}` || first.InReplyTo != strings.ToLower(id) {
		t.Errorf("got %+v", first)
	}
	again, _ := amtp.Parse(body, amtp.Rules{Now: now.Add(time.Hour), Lenient: true})
	if again.MessageID != first.MessageID || again.Hash() != first.Hash() {
		t.Error("the same message came to another id")
	}
	other, _ := amtp.Parse([]byte(strings.Replace(string(body), "a@a.test", "c@a.test", 1)), amtp.Rules{Lenient: true})
	if other.MessageID == first.MessageID {
		t.Error("another sender's id came to the same one")
	}
}

func TestLenientRulesTakeSchemasOfOtherRegistries(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]bool{"acme:order.v1": true, "acme:a/b#c": true, "agntcy:order.v1": false, "order": false, ":x": false, "acme:": false, "acme:a b": false, "acme:é": false} {
		body := []byte(with(`"schema":"` + id + `"`))
		if _, err := amtp.Parse(body, amtp.Rules{Lenient: true}); (err == nil) != want {
			t.Errorf("%s: %v", id, err)
		}
		if _, err := amtp.Parse(body, amtp.Rules{}); err == nil {
			t.Errorf("%s: taken without", id)
		}
	}
}

func TestHashIsOverWhatTheMessageSays(t *testing.T) {
	t.Parallel()
	hash := func(body string) [32]byte {
		m, err := amtp.Parse([]byte(body), amtp.Rules{Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return m.Hash()
	}
	same := hash(with(`"subject":"s"`))
	for _, body := range []string{
		with(`"subject" : "s","message_id":"0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01"`),
		with(`"subject":"s","timestamp":"2020-11-20T09:00:00Z","signature":{},"workflow_id":"x","idempotency_key":"6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0aa"`),
		`{"recipients":["c@b.test"],"sender":"a@A.TEST","payload":{ },"subject":"s"}`,
	} {
		if hash(body) != same {
			t.Errorf("%s: another hash", body)
		}
	}
	for _, members := range []string{`"subject":"t"`, `"subject":"s","headers":{}`, `"subject":"s","in_reply_to":"0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01"`,
		`"subject":"s","schema":"agntcy:a.b.v1"`, `"subject":"s","response_type":"x"`,
		`"subject":"s","coordination":{"type":"parallel","timeout":1}`} {
		if hash(with(members)) == same {
			t.Errorf("%s: the same hash", members)
		}
	}
}

func TestDerivedKeysDifferByContentAndRecipients(t *testing.T) {
	t.Parallel()
	seen := make(map[string]string)
	for _, body := range []string{with(""), with(`"subject":"x"`),
		`{"sender":"a@a.test","recipients":["c@b.test"],"payload":{}}`,
		`{"sender":"a@a.test","recipients":["b@b.test","c@b.test"],"payload":{}}`} {
		m, err := amtp.Parse([]byte(body), amtp.Rules{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := amtp.CheckKey(m.IdempotencyKey); err != nil || !m.KeyDerived {
			t.Errorf("%s: key %q", body, m.IdempotencyKey)
		}
		if seen[m.IdempotencyKey] != "" {
			t.Errorf("%s and %s have one key", body, seen[m.IdempotencyKey])
		}
		seen[m.IdempotencyKey] = body
		if again, _ := amtp.Parse([]byte(body), amtp.Rules{}); again.IdempotencyKey != m.IdempotencyKey {
			t.Errorf("%s: two keys", body)
		}
	}
}

func TestCoordinationIsCheckedInShape(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`{"type":"parallel","timeout":5}`:                                                                                          "",
		`{"type":"sequential","timeout":5,"sequence":["a@b.test"]}`:                                                                "",
		`{"type":"conditional","timeout":5,"conditions":[{"if":"x","then":["a@b.test"],"else":null}]}`:                             "",
		`{"type":"parallel","timeout":5,"stop_on_failure":true,"required_responses":["a@b.test"],"optional_responses":[],"zzz":1}`: "",
		`{"type":"zig","timeout":5}`:                                                                                               "invalid coordination type: zig",
		`{"type":"parallel"}`:                                                                                                      "coordination timeout must be positive",
		`{"type":"parallel","timeout":-1}`:                                                                                         "coordination timeout must be positive",
		`{"type":"parallel","timeout":1.5}`:                                                                                        "coordination timeout must be a whole number of seconds",
		`{"type":"parallel","timeout":9223372036}`:                                                                                 "coordination timeout is longer than 31622400 seconds",
		`{"type":"parallel","timeout":5,"stop_on_failure":1}`:                                                                      "stop_on_failure must be true or false",
		`{"type":"sequential","timeout":5}`:                                                                                        "sequential coordination requires sequence",
		`{"type":"sequential","timeout":5,"sequence":["nope"]}`:                                                                    "invalid email in sequence: nope",
		`{"type":"sequential","timeout":5,"sequence":"x"}`:                                                                         "sequence must be an array of addresses",
		`{"type":"conditional","timeout":5}`:                                                                                       "conditional coordination requires conditions",
		`{"type":"conditional","timeout":5,"conditions":[{"then":["a@b.test"]}]}`:                                                  "condition 0: 'if' clause is required",
		`{"type":"conditional","timeout":5,"conditions":[{"if":"x"}]}`:                                                             "condition 0: 'then' clause is required",
		`{"type":"conditional","timeout":5,"conditions":[{"if":1}]}`:                                                               "condition 0: if must be a string",
		`{"type":"conditional","timeout":5,"conditions":[1]}`:                                                                      "condition 0: must be an object",
		`{"type":"parallel","timeout":5,"required_responses":["` + strings.Repeat("x", 65) + `@b.test"]}`:                          "invalid email in required_responses: " + strings.Repeat("x", 65) + "@b.test",
	} {
		_, err := amtp.Parse([]byte(with(`"coordination":`+value)), amtp.Rules{})
		got := ""
		if err != nil {
			var e *amtp.Error
			errors.As(err, &e)
			got = strings.TrimPrefix(e.Message, "coordination validation failed: ")
			if e.Code != amtp.CodeValidationFailed {
				t.Errorf("%s: code %s", value, e.Code)
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", value, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("x", amtp.MaxLabel)
	for in, want := range map[string]string{
		"Bob@A.Test":                "Bob@a.test",
		"bob@a.test.":               "bob@a.test",
		"b.o-b+x_y@a":               "b.o-b+x_y@a",
		"bob@127.0.0.1":             "bob@127.0.0.1",
		"bob@xn--bcher-kva.example": "bob@xn--bcher-kva.example",
		strings.Repeat("b", amtp.MaxLocal) + "@a": strings.Repeat("b", amtp.MaxLocal) + "@a",
		"b@" + label: "b@" + label,
	} {
		if got, err := amtp.ParseAddress(in); err != nil || got.String() != want {
			t.Errorf("%s: got %s, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", "bob", "@a.test", "bob@", "bob@.", "bob@a..test", "bob@.a", "bob@-a", "bob@a-", "bob@a-.test", "bob@a_b",
		"bob@a b", " bob@a", "bob@a ", "bob@a\n", "Bob <bob@a>", "<bob@a>", `"b o"@a`, "bob@[127.0.0.1]", "bob(x)@a",
		"böb@a", "bob@bücher.example", ".bob@a", "bob.@a", "b..b@a", "a@b@c", "bob@a..",
		strings.Repeat("b", amtp.MaxLocal+1) + "@a", "b@" + label + "x", "b@" + strings.Repeat("a.", 128),
	} {
		if got, err := amtp.ParseAddress(in); !errors.Is(err, amtp.ErrAddress) {
			t.Errorf("%q: got %v, %v, want ErrAddress", in, got, err)
		}
	}
}

func TestOutboundHasAllCoreMembers(t *testing.T) {
	t.Parallel()
	m, err := amtp.Parse([]byte(`{"sender":"a@a.test","recipients":["b@b.test"],"payload":{"x":1},`+
		`"message_id":"0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01","idempotency_key":"6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0aa","signature":{"keyid":"x"}}`), amtp.Rules{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	got, err := amtp.Outbound(m.Document(), []string{"b@b.test", "c@b.test"})
	const want = `{"version":"1.0","message_id":"0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01","idempotency_key":"6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0aa",` +
		`"timestamp":"2026-11-20T09:00:00.123456789Z","sender":"a@a.test","recipients":["b@b.test","c@b.test"],"subject":"","schema":"",` +
		`"coordination":null,"headers":null,"payload":{"x":1},"attachments":null,"signature":null,"in_reply_to":"","response_type":"","workflow_id":""}`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	one, err := amtp.OutboundOne(m.Document(), "c@b.test")
	if err != nil {
		t.Fatal(err)
	}
	copied, err := amtp.Parse(one, amtp.Rules{})
	if err != nil || copied.MessageID == m.MessageID || copied.IdempotencyKey == m.IdempotencyKey ||
		copied.MessageID[:13] != m.MessageID[:13] || string(copied.Headers) != `{"amtp-original-message-id":"`+m.MessageID+`"}` {
		t.Errorf("got %s, %v", one, err)
	}
	if again, _ := amtp.OutboundOne(m.Document(), "c@b.test"); string(again) != string(one) {
		t.Error("a copy got a second id")
	}
	if _, err := amtp.Outbound([]byte(`{"sender":1}`), nil); err == nil {
		t.Error("garbage written out")
	}
}

func TestHeadersAtTheLimitTravelUnderAnotherID(t *testing.T) {
	t.Parallel()
	const around = len(`{"x":""}`)
	body := with(`"headers":{"x":"` + strings.Repeat("x", amtp.MaxHeaders-around) + `"},"message_id":"6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0aa"`)
	m, err := amtp.Parse([]byte(body), amtp.Rules{Lenient: true})
	if err != nil {
		t.Fatal(err)
	}
	out, err := amtp.OutboundOne(m.Document(), "b@b.test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := amtp.Parse(out, amtp.Rules{}); err != nil {
		t.Error(err)
	}
}

func TestDocumentsAreReadBack(t *testing.T) {
	t.Parallel()
	m, err := amtp.Parse([]byte(full), amtp.Rules{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	back, err := amtp.ReadDocument(m.Document())
	if err != nil || back.MessageID != m.MessageID || back.IdempotencyKey != m.IdempotencyKey || !back.Timestamp.Equal(m.Timestamp) ||
		back.Sender != m.Sender || back.Hash() != m.Hash() || !back.Signed || string(back.Document()) != string(m.Document()) {
		t.Errorf("got %+v, %v, want %+v", back, err, m)
	}
}

// Not in parallel: the ids of a process are one row, and other tests mint at other times.
func TestMessageIDsCountUpWithinAMillisecondAndAfterASmallStepBack(t *testing.T) {
	last := ""
	for i := range 10000 {
		id := amtp.NewMessageID(now.Add(-time.Duration(i%50) * time.Millisecond))
		if _, err := amtp.CheckMessageID(id); err != nil {
			t.Fatal(id)
		}
		if id <= last {
			t.Fatalf("%s after %s", id, last)
		}
		last = id
	}
}

func TestErrorBodyHasBothNames(t *testing.T) {
	t.Parallel()
	e := amtp.Errorf(400, amtp.CodeInvalidTimestamp, "no time: %d", 5)
	body := e.Body(now, "r1")
	if body.Message != "no time: 5" || body.Error.Code != "INVALID_TIMESTAMP" || body.Error.RequestID != "r1" ||
		body.Error.Details["amtp_code"] != amtp.CodeInvalidMessageFormat || e.Details != nil {
		t.Errorf("got %+v", body)
	}
}

func TestOverallState(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		states []amtp.State
		want   amtp.State
	}{
		{nil, amtp.Pending},
		{[]amtp.State{amtp.Delivered, amtp.Delivered}, amtp.Delivered},
		{[]amtp.State{amtp.Delivered, amtp.Failed}, amtp.Failed},
		{[]amtp.State{amtp.Queued, amtp.Failed}, amtp.Failed},
		{[]amtp.State{amtp.Delivered, amtp.Queued}, amtp.Queued},
		{[]amtp.State{amtp.Retrying, amtp.Queued}, amtp.Retrying},
		{[]amtp.State{amtp.Delivering, amtp.Delivered}, amtp.Delivering},
		{[]amtp.State{amtp.Pending, amtp.Delivered}, amtp.Pending},
	} {
		if got := amtp.Overall(c.states); got != c.want {
			t.Errorf("%v: got %s, want %s", c.states, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(with(`"coordination":{"type":"sequential","timeout":5,"sequence":["a@b.test"]}`)))
	for i := range 3 {
		f.Add([]byte(with(`"subject":` + strconv.Quote(strings.Repeat("é\\", i)))))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := amtp.Parse(body, amtp.Rules{Now: now, Lenient: true})
		if err != nil {
			if e := (*amtp.Error)(nil); !errors.As(err, &e) {
				t.Fatalf("%q: %T", body, err)
			}
			return
		}
		recipients := make([]string, len(m.Recipients))
		for i, r := range m.Recipients {
			recipients[i] = r.String()
		}
		whole := amtp.Assemble(m.Document(), recipients)
		back, err := amtp.Parse(whole, amtp.Rules{Now: now, MaxSize: 1 << 30, Lenient: true})
		if err != nil || back.Hash() != m.Hash() || back.MessageID != m.MessageID || back.IdempotencyKey != m.IdempotencyKey {
			t.Fatalf("%q: as a reader gets it, %q: %v", body, whole, err)
		}
		out, err := amtp.Outbound(m.Document(), recipients)
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		back, err = amtp.Parse(out, amtp.Rules{Now: now, MaxSize: 1 << 30, Lenient: true})
		if err != nil || back.MessageID != m.MessageID {
			t.Fatalf("%q: as a peer gets it, %q: %v", body, out, err)
		}
	})
}

package knock

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"amesh/identity"
	"amesh/internal/content"
)

const (
	alice = "jPUMBAvNeJo8USHNtJ81Wm7cqnk"
	bob   = "2Uq51iFVLnqmgbVY3vLZtMD5PR87"
	carol = "3YDAM5ZLRKg7eHH1Zs6sSMwkga8w"
)

func amid(t testing.TB, s string) identity.AMID {
	t.Helper()
	a, err := identity.ParseAMID(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func policy(t testing.TB, text string) Policy {
	t.Helper()
	p, err := ParsePolicy([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return p
}

func TestEvaluate(t *testing.T) {
	for name, c := range map[string]struct {
		policy  string
		facts   Facts
		verdict Verdict
		rule    string
	}{
		"no policy":               {``, Facts{}, Ask, "strangers-ask"},
		"empty policy":            {`{}`, Facts{}, Ask, "strangers-ask"},
		"strangers welcome":       {`{"strangers":"accept"}`, Facts{}, Accept, "strangers-accept"},
		"strangers unwelcome":     {`{"strangers":"reject"}`, Facts{}, Reject, "strangers-reject"},
		"allowed":                 {`{"strangers":"reject","allow":["` + alice + `"]}`, Facts{}, Accept, "allow"},
		"allowed by DID":          {`{"allow":["did:agentmesh:` + alice + `"]}`, Facts{}, Accept, "allow"},
		"another allowed":         {`{"allow":["` + bob + `"]}`, Facts{}, Ask, "strangers-ask"},
		"granted":                 {`{"strangers":"reject"}`, Facts{Granted: true}, Accept, "grant"},
		"blocked":                 {`{"strangers":"accept","block":["` + alice + `"]}`, Facts{}, Reject, "block"},
		"block beats allow":       {`{"allow":["` + alice + `"],"block":["` + alice + `"]}`, Facts{}, Reject, "block"},
		"block beats grant":       {`{"block":["` + alice + `"]}`, Facts{Granted: true}, Reject, "block"},
		"intent rejected":         {`{"rejected_intents":["travel/*"]}`, Facts{Granted: true}, Reject, "rejected_intents: travel/*"},
		"intent rejected by stem": {`{"rejected_intents":["travel"]}`, Facts{}, Reject, "rejected_intents: travel"},
		"intent rejected by star": {`{"rejected_intents":["*"]}`, Facts{}, Reject, "rejected_intents: *"},
		"only like it":            {`{"rejected_intents":["trav"]}`, Facts{}, Ask, "strangers-ask"},
		"below it":                {`{"rejected_intents":["travel/flights/*"]}`, Facts{}, Ask, "strangers-ask"},
		"intent not accepted":     {`{"accepted_intents":["food"]}`, Facts{}, Reject, "accepted_intents"},
		"grant is no intent":      {`{"accepted_intents":["food"]}`, Facts{Granted: true}, Reject, "accepted_intents"},
		"allow is no intent":      {`{"accepted_intents":["food"],"allow":["` + alice + `"]}`, Facts{}, Reject, "accepted_intents"},
		"intent accepted":         {`{"accepted_intents":["food","travel/flights"]}`, Facts{}, Ask, "strangers-ask"},
		"rejected before allowed": {`{"accepted_intents":["travel"],"rejected_intents":["travel/flights"]}`, Facts{}, Reject, "rejected_intents: travel/flights"},
		"accountable":             {`{"strangers":"accept"}`, Facts{Mode: content.Accountable}, Reject, "mode: accountable is not supported"},
		"private":                 {`{"strangers":"accept"}`, Facts{Mode: content.Private}, Accept, "strangers-accept"},
	} {
		c.facts.Peer, c.facts.Intent = amid(t, alice), "travel/flights"
		d := policy(t, c.policy).Evaluate(c.facts)
		if d.Verdict != c.verdict || d.Rule != c.rule || d.Remarks != nil {
			t.Errorf("%s: got %v, want %s by %q", name, d, c.verdict, c.rule)
		}
	}
	for _, text := range []string{``, `{"strangers":"accept"}`, `{"strangers":"reject"}`} {
		f := Facts{Peer: amid(t, alice), Intent: "a"}
		want := policy(t, text).Evaluate(f)
		f.NoOneTimeKey = true
		d := policy(t, text).Evaluate(f)
		if d.Verdict != want.Verdict || d.Rule != want.Rule || !slices.Equal(d.Remarks, []string{"no_otk"}) {
			t.Errorf("%s, without a one-time key: %v, want %v and the remark", text, d, want)
		}
	}
}

// The SDKs' files: what restricts is obeyed, nothing in them opens a door, and
// what we do not act on is named. (AgentMesh §6.6)
func TestForeignDialects(t *testing.T) {
	py := policy(t, `{"accept_tiers":[1,1.5,2],"min_reputation":0.3,"accepted_intents":["travel"],"rejected_intents":["spam"],
		"blocklist":["`+alice+`"],"allowlist":["`+bob+`"],"strict_mode":true,"max_concurrent_sessions":10,
		"rate_limit":{"knocks_per_minute":7,"messages_per_minute":100},"store_transcripts":true,
		"auto_reject_when_offline":false,"notify_owner":{"on_error":true}}`)
	want := Policy{
		Strangers: StrangersReject, Allow: []identity.AMID{amid(t, bob)}, Block: []identity.AMID{amid(t, alice)},
		AcceptedIntents: []string{"travel"}, RejectedIntents: []string{"spam"}, KnocksPerMinute: 7,
		Ignored: []string{"accept_tiers", "min_reputation", "max_concurrent_sessions", "rate_limit.messages_per_minute",
			"store_transcripts", "auto_reject_when_offline", "notify_owner"},
	}
	if diff := cmp.Diff(want, py, cmpopts.IgnoreUnexported(Policy{})); diff != "" {
		t.Errorf("Python: -want +got:\n%s", diff)
	}
	js := policy(t, `{"minTier":2,"minReputation":0,"allowedIntents":["travel"],"blockedIntents":["spam"],
		"allowedAmids":["`+bob+`"],"blockedAmids":["`+alice+`"],"autoAccept":true,"maxSessionTtl":300,"maxConcurrentSessions":100}`)
	want = Policy{
		Strangers: StrangersAsk, Allow: []identity.AMID{amid(t, bob)}, Block: []identity.AMID{amid(t, alice)},
		AcceptedIntents: []string{"travel"}, RejectedIntents: []string{"spam"}, KnocksPerMinute: 30,
		Ignored: []string{"minTier", "minReputation", "autoAccept", "maxSessionTtl", "maxConcurrentSessions"},
	}
	if diff := cmp.Diff(want, js, cmpopts.IgnoreUnexported(Policy{})); diff != "" {
		t.Errorf("JavaScript: -want +got:\n%s", diff)
	}
	both := policy(t, `{"block":["`+alice+`"],"blocklist":["`+bob+`"],"blockedAmids":["`+carol+`","`+alice+`"]}`)
	if len(both.Block) != 3 {
		t.Errorf("lists of three dialects: %v", both.Block)
	}
	if p := policy(t, `{"strict_mode":true,"strangers":"accept"}`); p.Strangers != StrangersReject {
		t.Errorf("strict mode loses to %q", p.Strangers)
	}
}

// T09 and worse: a policy that was not understood lets nobody in.
func TestT09PolicyRefused(t *testing.T) {
	for name, text := range map[string]string{
		"misspelt key":           `{"bloklist":[]}`,
		"same key twice":         `{"block":["` + alice + `"],"block":[]}`,
		"same key in other case": `{"block":["` + alice + `"],"Block":[]}`,
		"only the other case":    `{"Block":[]}`,
		"nested twice":           `{"rate_limit":{"knocks_per_minute":1,"knocks_per_minute":99}}`,
		"null list":              `{"block":null}`,
		"null in SDK's list":     `{"blocklist":null}`,
		"null strict mode":       `{"strict_mode":null}`,
		"strict mode as text":    `{"strict_mode":"yes"}`,
		"string for a list":      `{"block":"` + alice + `"}`,
		"no AMID":                `{"block":["alice"]}`,
		"number for an AMID":     `{"block":[1]}`,
		"unknown way":            `{"strangers":"maybe"}`,
		"upper case way":         `{"strangers":"Accept"}`,
		"negative rate":          `{"knocks_per_minute":-1}`,
		"half a rate":            `{"knocks_per_minute":1.5}`,
		"huge rate":              `{"knocks_per_minute":1e99}`,
		"pattern in upper case":  `{"rejected_intents":["Travel"]}`,
		"star inside":            `{"rejected_intents":["a/*/b"]}`,
		"empty pattern":          `{"rejected_intents":[""]}`,
		"list":                   `[]`,
		"text after":             `{} {}`,
		"cut":                    `{"block":[`,
		"broken UTF-8":           "{\"block\":[\"\xff\"]}",
		"depth bomb":             `{"notify_owner":` + strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40) + `}`,
		"too long":               strings.Repeat(" ", MaxPolicySize) + `{}`,
	} {
		if p, err := ParsePolicy([]byte(text)); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: got %+v, %v, want ErrPolicy", name, p, err)
		}
	}
	for text, want := range map[string]string{
		`{"blok":[]}`:            `did you mean "block"?`,
		`{"accepted_intent":[]}`: `did you mean "accepted_intents"?`,
		`{"zzzzzzzzzz":1}`:       `known: accepted_intents, allow, block,`,
	} {
		if _, err := ParsePolicy([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestLoadPolicy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.json")
	p, err := LoadPolicy(path)
	if err != nil || p.Strangers != StrangersAsk {
		t.Errorf("missing file: %+v, %v", p, err)
	}
	if err := os.WriteFile(path, []byte(`{"block":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadPolicy(path); !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), path) {
		t.Errorf("broken file: got %v, want ErrPolicy with the path", err)
	}
	if _, err := LoadPolicy(filepath.Dir(path)); err == nil {
		t.Error("a folder was read as a policy")
	}
}

func TestSet(t *testing.T) {
	p := policy(t, `{"blocklist":["`+alice+`"],"strict_mode":true,"rate_limit":{"knocks_per_minute":7,"x":1},"min_reputation":0.5}`)
	for _, s := range [][2]string{
		{"block", bob + ", did:agentmesh:" + carol}, {"strangers", "ask"}, {"knocks_per_minute", "9"},
		{"accepted_intents", "travel/*,food"}, {"allow", ""},
	} {
		next, err := p.Set(s[0], s[1])
		if err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		p = next
	}
	raw, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "strangers": "ask",
  "allow": [],
  "block": [
    "` + bob + `",
    "` + carol + `"
  ],
  "accepted_intents": [
    "travel/*",
    "food"
  ],
  "rejected_intents": [],
  "knocks_per_minute": 9,
  "blocklist": [
    "` + bob + `",
    "` + carol + `"
  ],
  "strict_mode": false,
  "rate_limit": {
    "knocks_per_minute": 9,
    "x": 1
  },
  "min_reputation": 0.5
}
`
	if got := string(raw); got != want {
		t.Errorf("wrote %s\nwant %s", got, want)
	}
	back := policy(t, string(raw))
	if diff := cmp.Diff(p, back, cmpopts.IgnoreUnexported(Policy{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("read back: -want +got:\n%s", diff)
	}
	for _, bad := range [][2]string{
		{"strangers", "maybe"}, {"block", "alice"}, {"knocks_per_minute", "many"}, {"knocks_per_minute", "-1"},
		{"accepted_intents", "A"}, {"blocklist", ""}, {"strangres", "ask"},
	} {
		next, err := p.Set(bad[0], bad[1])
		if !errors.Is(err, ErrPolicy) || next.Version() != p.Version() {
			t.Errorf("%v: got %v, want ErrPolicy and the old policy", bad, err)
		}
	}
}

func TestSetDoesNotShare(t *testing.T) {
	p := policy(t, `{"block":["`+alice+`"]}`)
	version := p.Version()
	if _, err := p.Set("block", bob); err != nil {
		t.Fatal(err)
	}
	if p.Version() != version || !p.Blocked(amid(t, alice)) || p.Blocked(amid(t, bob)) {
		t.Error("Set changed its receiver")
	}
}

func TestVersion(t *testing.T) {
	versions := make(map[string]string)
	for _, text := range []string{
		`{}`, `{"strangers":"reject"}`, `{"block":["` + alice + `"]}`, `{"allow":["` + alice + `"]}`,
		`{"accepted_intents":["a"]}`, `{"rejected_intents":["a"]}`, `{"knocks_per_minute":1}`,
	} {
		v := policy(t, text).Version()
		if twin, ok := versions[v]; ok || len(v) != 16 {
			t.Errorf("%s has the version %s of %s", text, v, twin)
		}
		versions[v] = text
	}
	if policy(t, `{"blocklist":["`+alice+`"],"minTier":1}`).Version() != policy(t, `{"block":["`+alice+`"]}`).Version() {
		t.Error("the same rules in another dialect have another version")
	}
}

func TestShow(t *testing.T) {
	got := policy(t, `{"block":["`+alice+`"],"minTier":1}`).Show()
	for _, want := range []string{"strangers          ask\n", "block              " + alice + "\n", "accepted_intents   every intent\n", "(kept, not used)   minTier\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(`{"strangers":"ask","block":["` + alice + `"]}`))
	f.Add([]byte(`{"blocklist":["` + alice + `"],"strict_mode":true,"rate_limit":{"knocks_per_minute":7,"x":[1]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := ParsePolicy(raw)
		if err != nil {
			return
		}
		out, err := p.Encode()
		if err != nil {
			t.Fatalf("does not encode: %v", err)
		}
		back, err := ParsePolicy(out)
		if err != nil || back.Version() != p.Version() {
			t.Errorf("%s is written as %s, which reads differently: %v", raw, out, err)
		}
	})
}

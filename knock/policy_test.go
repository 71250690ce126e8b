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
		"accountable":             {`{"strangers":"accept"}`, Facts{Mode: content.Accountable}, Accept, "strangers-accept"},
		"private":                 {`{"strangers":"accept"}`, Facts{Mode: content.Private}, Accept, "strangers-accept"},
		"mode not accepted":       {`{"accept_modes":["accountable"]}`, Facts{Mode: content.Private, Granted: true}, Reject, "accept_modes"},
		"mode accepted":           {`{"accept_modes":["accountable"]}`, Facts{Mode: content.Accountable, Granted: true}, Accept, "grant"},
		"no mode, a message":      {`{"accept_modes":["accountable"]}`, Facts{Granted: true}, Accept, "grant"},
		"no tier wanted":          {`{"strangers":"accept","min_tier":"anonymous"}`, Facts{}, Accept, "strangers-accept"},
		"tier not proved":         {`{"strangers":"accept","min_tier":"verified"}`, Facts{}, Reject, "min_tier: verified"},
		"tier too low":            {`{"min_tier":"organization"}`, Facts{Tier: Verified}, Reject, "min_tier: organization"},
		"tier proved":             {`{"strangers":"accept","min_tier":"verified"}`, Facts{Tier: Verified}, Accept, "strangers-accept"},
		"tier better":             {`{"min_tier":"verified"}`, Facts{Tier: Organization}, Ask, "strangers-ask"},
		"tier does not let in":    {`{"strangers":"reject","min_tier":"verified"}`, Facts{Tier: Organization}, Reject, "strangers-reject"},
		"tier is for strangers":   {`{"min_tier":"organization"}`, Facts{Granted: true}, Accept, "grant"},
		"nor for who is allowed":  {`{"min_tier":"organization","allow":["` + alice + `"]}`, Facts{}, Accept, "allow"},
		"nor for who was invited": {`{"min_tier":"organization"}`, Facts{Invite: "00c0ffee"}, Accept, "invite/00c0ffee"},
		"tier of the blocked":     {`{"min_tier":"verified","block":["` + alice + `"]}`, Facts{Tier: Organization}, Reject, "block"},
		"own mode is not theirs":  {`{"strangers":"accept","mode":"accountable"}`, Facts{Mode: content.Private}, Accept, "strangers-accept"},
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
		AcceptedIntents: []string{"travel"}, RejectedIntents: []string{"spam"}, KnocksPerMinute: 7, Mode: content.Private,
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
		AcceptedIntents: []string{"travel"}, RejectedIntents: []string{"spam"}, KnocksPerMinute: 30, Mode: content.Private,
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
		"mode of a third kind":   `{"mode":"public"}`,
		"tier of a third kind":   `{"min_tier":"gold"}`,
		"tier as a number":       `{"min_tier":1}`,
		"empty tier":             `{"min_tier":""}`,
		"null tier":              `{"min_tier":null}`,
		"no mode":                `{"mode":""}`,
		"null modes":             `{"accept_modes":null}`,
		"a mode for a list":      `{"accept_modes":"private"}`,
		"no such mode in list":   `{"accept_modes":["private","Accountable"]}`,
		"fewer than no messages": `{"session_messages":-1}`,
		"messages beyond u32":    `{"session_messages":4294967296}`,
		"bytes as text":          `{"session_bytes":"1000"}`,
		"time as a duration":     `{"session_ttl":"1h"}`,
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
		`{"zzzzzzzzzz":1}`:       `known: accept_modes, accepted_intents, allow, block,`,
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
		{"accepted_intents", "travel/*,food"}, {"allow", ""}, {"mode", "accountable"}, {"accept_modes", "accountable, private"},
		{"session_messages", "100"}, {"session_bytes", "8589934592"}, {"session_ttl", "3600"}, {"min_tier", "verified"},
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
  "min_tier": "verified",
  "mode": "accountable",
  "accept_modes": [
    "accountable",
    "private"
  ],
  "session_messages": 100,
  "session_bytes": 8589934592,
  "session_ttl": 3600,
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
		{"accepted_intents", "A"}, {"blocklist", ""}, {"strangres", "ask"}, {"mode", "both"}, {"accept_modes", "none"}, {"min_tier", "gold"},
		{"session_messages", "many"}, {"session_messages", "-1"}, {"session_messages", "4294967296"}, {"session_bytes", "1 MB"},
	} {
		next, err := p.Set(bad[0], bad[1])
		if !errors.Is(err, ErrPolicy) || next.Version() != p.Version() {
			t.Errorf("%v: got %v, want ErrPolicy and the old policy", bad, err)
		}
	}
}

// What was set is taken back with nothing.
func TestSetToNothing(t *testing.T) {
	p := policy(t, `{"mode":"accountable","accept_modes":["accountable"],"session_messages":1,"session_bytes":2,"session_ttl":3}`)
	if want := (content.Limits{Messages: 1, Bytes: 2, Seconds: 3}); p.SessionLimits != want || p.AskMode() != content.Accountable {
		t.Fatalf("read %+v", p)
	}
	for _, key := range []string{"mode", "accept_modes", "session_messages", "session_bytes", "session_ttl"} {
		next, err := p.Set(key, "")
		if err != nil {
			t.Fatal(err)
		}
		p = next
	}
	if p.Version() != DefaultPolicy().Version() {
		t.Errorf("left is\n%s", p.Show())
	}
}

// T36: what a change of the policy leaves of a grant.
func TestWhatIsLeftOfAGrant(t *testing.T) {
	every := []string(nil)
	for name, c := range map[string]struct {
		policy  string
		intents []string
		want    bool
	}{
		"no rule":                      {`{}`, every, true},
		"strangers do not matter":      {`{"strangers":"reject"}`, every, true},
		"blocked":                      {`{"block":["` + alice + `"]}`, every, false},
		"another blocked":              {`{"block":["` + bob + `"]}`, every, true},
		"everything rejected":          {`{"rejected_intents":["*"]}`, every, false},
		"something rejected":           {`{"rejected_intents":["travel"]}`, every, true},
		"something accepted":           {`{"accepted_intents":["food"]}`, every, true},
		"accepted and rejected":        {`{"accepted_intents":["food"],"rejected_intents":["food"]}`, every, false},
		"accepted, below it rejected":  {`{"accepted_intents":["food"],"rejected_intents":["food/*"]}`, every, true},
		"below it, and that rejected":  {`{"accepted_intents":["food/*"],"rejected_intents":["food/*"]}`, every, false},
		"below it, and it rejected":    {`{"accepted_intents":["food/*"],"rejected_intents":["food"]}`, every, false},
		"below it, some rejected":      {`{"accepted_intents":["food/*"],"rejected_intents":["food/fish"]}`, every, true},
		"everything but what is not":   {`{"accepted_intents":["*"],"rejected_intents":["food"]}`, every, true},
		"one of two left":              {`{"accepted_intents":["food","fun"],"rejected_intents":["food"]}`, every, true},
		"grant for one, rejected":      {`{"rejected_intents":["travel/*"]}`, []string{"travel/flights"}, false},
		"grant for two, one rejected":  {`{"rejected_intents":["travel/*"]}`, []string{"travel/flights", "food"}, true},
		"grant for one, not accepted":  {`{"accepted_intents":["food"]}`, []string{"travel/flights"}, false},
		"grant for one, of a blocked":  {`{"block":["` + alice + `"]}`, []string{"travel/flights"}, false},
		"grant for one, that is fine ": {`{"accepted_intents":["travel"]}`, []string{"travel/flights"}, true},
	} {
		if got := policy(t, c.policy).Leaves(amid(t, alice), c.intents); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	for text, want := range map[string]bool{
		`{}`: false, `{"strangers":"accept"}`: true, `{"allow":["` + alice + `"]}`: true, `{"allow":["` + bob + `"]}`: false,
		`{"strangers":"accept","min_tier":"verified"}`: false, `{"allow":["` + alice + `"],"min_tier":"verified"}`: true,
		`{"strangers":"accept","rejected_intents":["*"]}`: false, `{"strangers":"accept","block":["` + alice + `"]}`: false,
	} {
		if got := policy(t, text).Welcomes(amid(t, alice)); got != want {
			t.Errorf("%s welcomes: %t", text, got)
		}
	}
}

func TestWithBlock(t *testing.T) {
	p := policy(t, `{"blocklist":["`+bob+`"]}`)
	both := p.WithBlock(amid(t, alice), true).WithBlock(amid(t, alice), true)
	if len(both.Block) != 2 || !both.Blocked(amid(t, alice)) || p.Blocked(amid(t, alice)) {
		t.Errorf("blocked %v, before %v", both.Block, p.Block)
	}
	if raw, err := both.Encode(); err != nil || strings.Count(string(raw), alice) != 2 {
		t.Errorf("the SDKs' list does not have her: %s, %v", raw, err)
	}
	if back := both.WithBlock(amid(t, alice), false); back.Version() != p.Version() || !both.Blocked(amid(t, alice)) {
		t.Errorf("unblocked: %v, before %v", back.Block, both.Block)
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
		`{"mode":"accountable"}`, `{"accept_modes":["private"]}`, `{"session_messages":1}`, `{"session_bytes":1}`, `{"session_ttl":1}`,
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
	for _, want := range []string{"strangers          ask\n", "block              " + alice + "\n", "accepted_intents   every intent\n", "(kept, not used)   minTier\n",
		"mode               private\n", "accept_modes       every mode\n", "session_messages   no limit\n"} {
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

// A person types the time of a session as they like; the file holds seconds.
func TestSessionTimeIsTyped(t *testing.T) {
	p := policy(t, `{}`)
	for text, want := range map[string]uint32{"90": 90, "1h30m": 5400, "1s": 1, "": 0, "0": 0} {
		next, err := p.Set("session_ttl", text)
		if err != nil || next.SessionLimits.Seconds != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"1d", "-1h", "500ms", "1e9", "2000000h", "soon"} {
		if next, err := p.Set("session_ttl", text); err == nil {
			t.Errorf("%q was taken as %d s", text, next.SessionLimits.Seconds)
		}
	}
	if _, err := p.Set("session_messages", "1h"); err == nil {
		t.Error("a number of messages was a time")
	}
}

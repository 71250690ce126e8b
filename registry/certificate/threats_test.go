package certificate

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"amesh/identity"
)

// case71 is one row of T71: a chain, whoever shows it, when, and what the verifier says.
type case71 struct {
	name  string
	text  string // the JSON form, or
	small []byte // the compact form
	who   identity.PublicKey
	now   time.Time
	trust Trust
	want  error // nil: the tier is proved
}

// T71: whatever is wrong with a certificate has its exact code.
func TestT71Certificates(t *testing.T) {
	cases := append(timeCases(t), documentCases(t)...)
	cases = append(cases, chainCases(t)...)
	cases = append(cases, compactCases(t)...)
	if len(cases) < 60 {
		t.Errorf("%d cases, T71 wants 60", len(cases))
	}
	for _, c := range cases {
		chain, err := parse71(c)
		if err == nil {
			err = c.trust.Verify(chain, c.who, c.now)
		}
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		for _, other := range []error{ErrExpired, ErrRevoked, ErrUntrusted, ErrStale} {
			if other != c.want && errors.Is(err, other) {
				t.Errorf("%s: also %v", c.name, other)
			}
		}
	}
}

func parse71(c case71) (*Chain, error) {
	if c.small != nil {
		return ParseCompact(c.small)
	}
	return Parse(c.text)
}

// timeCases are about clocks and revocation lists.
func timeCases(t *testing.T) []case71 {
	i, ann := testIssuer(t), testKey(t, 2).Public()
	o := must(i.IssueOrganization(OrganizationFacts{ID: "a", Domain: "example.org"}))(t)
	m := must(i.IssueMember(o.Text, ann))(t)
	leaf := must(i.IssueAgent(Agent{Key: ann, Tier: Verified}))(t)
	end := noon.Add(Life)
	listed := func(when time.Time, number uint64, revoked ...Serial) Trust {
		var lines []Revoked
		for _, s := range revoked {
			lines = append(lines, Revoked{Serial: s, At: noon, Reason: "key_compromise"})
		}
		list := must(NewIssuer(i.root, &dice{}, at(when)).IssueList(number, lines))(t)
		return must(Trust{Roots: []identity.PublicKey{i.Root()}}.Update(list, when))(t)
	}
	good, late := listed(noon, 1), listed(end, 1)
	none := Trust{Roots: []identity.PublicKey{i.Root()}}
	cases := []case71{
		{"valid", leaf.Text, nil, ann, noon, good, nil},
		{"valid member", m.Text, nil, ann, noon, good, nil},
		{"clock behind by the skew", leaf.Text, nil, ann, noon.Add(-Skew), good, nil},
		{"not yet", leaf.Text, nil, ann, noon.Add(-Skew - time.Second), good, ErrExpired},
		{"last second", leaf.Text, nil, ann, end.Add(-time.Second), late, nil},
		{"expired this second", leaf.Text, nil, ann, end, late, ErrExpired},
		{"expired long ago", leaf.Text, nil, ann, end.Add(Life), late, ErrExpired},
		{"expired member", m.Text, nil, ann, end, late, ErrExpired},
		{"expired and revoked", leaf.Text, nil, ann, end, listed(end, 1, leaf.Certificate.Serial), ErrExpired},
		{"revoked", leaf.Text, nil, ann, noon, listed(noon, 1, leaf.Certificate.Serial), ErrRevoked},
		{"revoked member", m.Text, nil, ann, noon, listed(noon, 1, m.Certificate.Serial), ErrRevoked},
		{"revoked organisation", m.Text, nil, ann, noon, listed(noon, 1, o.Certificate.Serial), ErrRevoked},
		{"another is revoked", leaf.Text, nil, ann, noon, listed(noon, 1, m.Certificate.Serial), nil},
		{"no list", leaf.Text, nil, ann, noon, none, ErrStale},
		{"list of 24 hours", leaf.Text, nil, ann, noon.Add(Stale), good, nil},
		{"list of more than 24 hours", leaf.Text, nil, ann, noon.Add(Stale + time.Second), good, ErrStale},
		{"list from the future", leaf.Text, nil, ann, noon, listed(noon.Add(time.Hour), 1), ErrStale},
		{"revoked by a stale list", leaf.Text, nil, ann, noon.Add(Stale + time.Hour), listed(noon, 1, leaf.Certificate.Serial), ErrRevoked},
		{"expired under a stale list", leaf.Text, nil, ann, end, good, ErrExpired},
		{"no roots", leaf.Text, nil, ann, noon, Trust{}, ErrUntrusted},
	}
	return cases
}

// documentCases change one thing about a single document.
func documentCases(t *testing.T) []case71 {
	i, ann := testIssuer(t), testKey(t, 2).Public()
	bob := testKey(t, 3).Public()
	leaf := must(i.IssueAgent(Agent{Key: ann, Tier: Verified}))(t).Text
	account := must(i.IssueVerification(Verification{Key: ann, Provider: "github", ProviderID: "17"}))(t).Text
	trust := fresh(t, i)
	var cases []case71
	bad := func(name, text string, who identity.PublicKey) {
		cases = append(cases, case71{name, text, nil, who, noon, trust, ErrUntrusted})
	}
	// Signed by the root itself, so that only the rule in question is left to refuse it.
	set := func(member string, value any) {
		bad("signed with "+member+" changed", resigned(t, leaf, i.root, func(m map[string]any) { m[member] = value }), ann)
	}
	set("ca", true)
	set("path_length", 1)
	set("usage", []string{"sign"})
	set("usage", []string{"tier", "sign"})
	set("usage", []string{})
	set("amid", bob.AMID().String())
	set("amid", ann.AMID().DID())
	set("agent_amid", ann.AMID().String())
	set("signing_public_key", bob.Text())
	set("signing_public_key", base64.StdEncoding.EncodeToString(make([]byte, 32)))
	set("tier", "verified")
	set("tier", "Anonymous")
	set("version", 2)
	set("version", "1")
	set("type", "org_root_certificate")
	set("type", "root")
	set("issuer", "agentmesh-registry")
	set("serial_number", "1")
	set("serial_number", strings.Repeat("A", 32))
	set("expires_at", "2099-01-01T00:00:00Z")
	set("expires_at", "2026-11-21T12:00:00Z")
	set("expires_at", "tomorrow")
	set("issued_at", "2026-11-21T13:00:00+01:00")
	set("organization_id", "a")
	set("domain", "example.org")
	set("critical", []string{"tenant"})
	set("issuer_certificate", account)
	bad("account that proves an organisation", resigned(t, account, i.root, func(m map[string]any) { m["tier"] = "Organization" }), ann)
	bad("name in capitals", resigned(t, leaf, i.root, func(m map[string]any) { m["AMID"] = m["amid"]; delete(m, "amid") }), ann)
	bad("altered tier", altered(t, leaf, `"tier":"Verified"`, `"tier":"Organization"`), ann)
	bad("altered serial", altered(t, leaf, `"serial_number":"01`, `"serial_number":"02`), ann)
	bad("altered date", altered(t, leaf, "2027-11-21", "2027-11-20"), ann)
	bad("unknown member put in", altered(t, leaf, `{"amid"`, `{"a":1,"amid"`), ann)
	bad("member twice", altered(t, leaf, `"ca":false`, `"ca":false,"ca":false`), ann)
	bad("somebody else's", leaf, bob)
	bad("signed by another key", resigned(t, leaf, testKey(t, 4), func(map[string]any) {}), ann)
	bad("foreign root", must(NewIssuer(testKey(t, 4), &dice{}, at(noon)).IssueAgent(Agent{Key: ann, Tier: Verified}))(t).Text, ann)
	bad("signed by oneself", resigned(t, leaf, testKey(t, 2), func(m map[string]any) { m["issuer_key"] = ann.Text() }), ann)
	bad("signature of another purpose", otherPurpose(t, i, leaf), ann)
	bad("unsigned, as the reference makes them", base64.StdEncoding.EncodeToString([]byte(`{"amid":"`+ann.AMID().String()+`","type":"agent","version":1}`)), ann)
	bad("line missing in the armour", strings.Replace(leaf, "\n", "", 1), ann)
	bad("space behind", leaf+" ", ann)
	bad("nothing", "", ann)
	bad("too long", strings.Repeat("A", MaxText+4), ann)
	cases = append(cases, case71{"member that nobody need know", resigned(t, leaf, i.root, func(m map[string]any) { m["note"] = "hello" }), nil, ann, noon, trust, nil},
		case71{"critical member that we know", resigned(t, leaf, i.root, func(m map[string]any) { m["critical"] = []string{"tier"} }), nil, ann, noon, trust, nil})
	return cases
}

func otherPurpose(t *testing.T, i *Issuer, text string) string {
	object, _, err := unseal(must(decodeText(text))(t))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(seal(i.root, tagList, object))
}

// chainCases put organisations and members together wrongly.
func chainCases(t *testing.T) []case71 {
	i, ann, bob := testIssuer(t), testKey(t, 2).Public(), testKey(t, 3)
	o := must(i.IssueOrganization(OrganizationFacts{ID: "a", Domain: "example.org"}))(t)
	p := must(i.IssueOrganization(OrganizationFacts{ID: "b", Domain: "example.net"}))(t)
	m := must(i.IssueMember(o.Text, ann))(t)
	leaf := must(i.IssueAgent(Agent{Key: ann, Tier: Verified}))(t)
	bobs := must(i.IssueAgent(Agent{Key: bob.Public(), Tier: Verified}))(t)
	signer := must(i.organizationKey(o.Certificate.Serial))(t)
	trust := fresh(t, i)
	var cases []case71
	bad := func(name, text string) {
		cases = append(cases, case71{name, text, nil, ann, noon, trust, ErrUntrusted})
	}
	under := func(name string, key identity.PrivateKey, change func(map[string]any)) {
		bad(name, resigned(t, m.Text, key, change))
	}
	under("member signed by the root", i.root, func(map[string]any) {})
	under("member under another organisation", signer, func(m map[string]any) { m["issuer_certificate"] = p.Text })
	under("member with another domain", signer, func(m map[string]any) { m["organization_domain"] = "example.net" })
	under("member with another organisation's id", signer, func(m map[string]any) { m["organization_id"] = "b" })
	under("member without an organisation", signer, func(m map[string]any) { delete(m, "issuer_certificate") })
	under("member that outlives it", signer, func(m map[string]any) {
		m["issued_at"], m["expires_at"] = "2026-12-01T00:00:00Z", "2027-11-22T00:00:00Z"
	})
	under("member that signs", signer, func(m map[string]any) { m["ca"] = true })
	under("member of tier Verified", signer, func(m map[string]any) { m["tier"] = "Verified" })
	under("signed by an agent", bob, func(m map[string]any) {
		m["issuer_certificate"], m["issuer_key"] = bobs.Text, bob.Public().Text()
	})
	under("three links", signer, func(m map[string]any) { m["issuer_certificate"] = m["issuer_certificate"].(string) + "x" })
	under("member as the issuer", signer, func(x map[string]any) { x["issuer_certificate"] = m.Text })
	altersIssuer := func(name string, key identity.PrivateKey, change func(map[string]any)) {
		issuer := resigned(t, o.Text, key, change)
		under(name, signer, func(m map[string]any) { m["issuer_certificate"] = issuer })
	}
	altersIssuer("organisation signed by itself", signer, func(m map[string]any) { m["issuer_key"] = signer.Public().Text() })
	altersIssuer("organisation signed by nobody we know", bob, func(map[string]any) {})
	altersIssuer("organisation that is no CA", i.root, func(m map[string]any) { m["ca"] = false })
	altersIssuer("organisation with a longer path", i.root, func(m map[string]any) { m["path_length"] = 1 })
	altersIssuer("organisation without the right to sign", i.root, func(m map[string]any) { m["usage"] = []string{"tier"} })
	altersIssuer("organisation with an agent's name", i.root, func(m map[string]any) { m["amid"] = ann.AMID().String() })
	altersIssuer("organisation with another key", i.root, func(m map[string]any) { m["signing_public_key"] = bob.Public().Text() })
	bad("an organisation shown as an agent", o.Text)
	bad("an organisation signs a certificate of the registry", resigned(t, leaf.Text, signer, func(m map[string]any) {
		m["issuer_key"], m["issuer_certificate"] = signer.Public().Text(), o.Text
	}))
	cases = append(cases,
		case71{"expired organisation", resigned(t, m.Text, signer, func(m map[string]any) {
			m["issuer_certificate"] = resigned(t, o.Text, i.root, func(o map[string]any) {
				o["issued_at"], o["expires_at"] = "2025-11-22T00:00:00Z", "2026-11-21T11:59:59Z"
			})
			m["issued_at"], m["expires_at"] = "2025-11-22T00:00:00Z", "2026-11-21T11:59:59Z"
		}), nil, ann, noon, trust, ErrExpired})
	return cases
}

// compactCases are about the bytes in a knock.
func compactCases(t *testing.T) []case71 {
	i, ann, bob := testIssuer(t), testKey(t, 2).Public(), testKey(t, 3).Public()
	o := must(i.IssueOrganization(OrganizationFacts{ID: "a", Domain: "example.org"}))(t)
	m := must(i.IssueMember(o.Text, ann))(t)
	leaf := must(i.IssueAgent(Agent{Key: ann, Tier: Verified}))(t)
	trust := fresh(t, i)
	flipped := func(raw []byte, n int) []byte {
		b := bytes.Clone(raw)
		b[n] ^= 1
		return b
	}
	member := must(ParseCompact(m.Compact))(t).Leaf
	signer := must(i.organizationKey(o.Certificate.Serial))(t)
	wide := *member
	wide.Kind = KindAgent
	wide.OrganizationID, wide.OrganizationDomain = "", ""
	cases := []case71{
		{"compact, valid", "", leaf.Compact, ann, noon, trust, nil},
		{"compact member, valid", "", m.Compact, ann, noon, trust, nil},
		{"compact, expired", "", leaf.Compact, ann, noon.Add(Life), trust, ErrExpired},
		{"compact, stale list", "", leaf.Compact, ann, noon.Add(Stale + time.Second), trust, ErrStale},
		{"compact, somebody else's", "", leaf.Compact, bob, noon, trust, ErrUntrusted},
		{"compact, other version", "", flipped(leaf.Compact, 0), ann, noon, trust, ErrUntrusted},
		{"compact, no links", "", []byte{1, 0}, ann, noon, trust, ErrUntrusted},
		{"compact, cut", "", leaf.Compact[:len(leaf.Compact)-1], ann, noon, trust, ErrUntrusted},
		{"compact, more behind", "", append(bytes.Clone(leaf.Compact), 0), ann, noon, trust, ErrUntrusted},
		{"compact, too long", "", make([]byte, MaxCompact+1), ann, noon, trust, ErrUntrusted},
		{"compact, member alone", "", compact(member.link(signer)), ann, noon, trust, ErrUntrusted},
		{"compact, member first", "", compact(member.link(signer), member.link(signer)), ann, noon, trust, ErrUntrusted},
		{"compact, organisation signs for the registry", "", compact(wide.link(signer)), ann, noon, trust, ErrUntrusted},
	}
	for n := range leaf.Compact {
		cases = append(cases, case71{"compact, one bit", "", flipped(leaf.Compact, n), ann, noon, trust, ErrUntrusted})
	}
	return cases
}

// A list that is older, foreign or changed brings nothing back (T71).
func TestT71OnlyNewerListsOfTheRootCount(t *testing.T) {
	i := testIssuer(t)
	revoked := []Revoked{{Serial: Serial{5}, At: noon, Reason: "superseded"}}
	old := must(i.IssueList(6, nil))(t)
	trust := must(Trust{Roots: []identity.PublicKey{i.Root()}}.Update(must(i.IssueList(7, revoked))(t), noon))(t)
	var object map[string]any
	if err := json.Unmarshal(old, &object); err != nil || object["type"] != "certificate_revocation_list" {
		t.Fatalf("%v, %v", object, err)
	}
	for name, raw := range map[string][]byte{
		"older number":    old,
		"foreign root":    must(NewIssuer(testKey(t, 9), &dice{}, at(noon)).IssueList(8, nil))(t),
		"from the future": must(NewIssuer(testKey(t, 1), &dice{}, at(noon.Add(Skew+time.Second))).IssueList(8, nil))(t),
		"line taken out":  bytes.Replace(must(i.IssueList(8, revoked))(t), []byte(`"revoked":[`), []byte(`"revoked":[],"x":[`), 1),
		"number raised":   bytes.Replace(old, []byte(`"number":6`), []byte(`"number":9`), 1),
		"other purpose":   i.IssueStatement(old[:len(old)-sealSize]),
		"not a list":      i.IssueStatement([]byte(`{"a":1}`)),
		"nothing":         nil,
	} {
		if _, err := trust.Update(raw, noon); !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: got %v, want ErrUntrusted", name, err)
		}
	}
	newer, err := trust.Update(must(i.IssueList(7, revoked))(t), noon)
	if err != nil || newer.lists[i.Root()].Len() != 1 {
		t.Errorf("same number again: %v", err)
	}
	if _, ok := newer.lists[i.Root()].Revoked(Serial{5}); !ok {
		t.Error("the line is gone")
	}
}

package certificate

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"amesh/identity"
)

func TestEveryKindProvesItsTierInBothForms(t *testing.T) {
	i, ann := testIssuer(t), testKey(t, 2).Public()
	o := must(i.IssueOrganization(OrganizationFacts{ID: "0b6c", Name: "Example", Domain: "example.org"}))(t)
	for name, c := range map[string]struct {
		issued *Issued
		tier   Tier
	}{
		"agent":        {must(i.IssueAgent(Agent{Key: ann, Tier: Verified}))(t), Verified},
		"verification": {must(i.IssueVerification(Verification{Key: ann, Provider: "github", ProviderID: "17"}))(t), Verified},
		"member":       {must(i.IssueMember(o.Text, ann))(t), Organization},
	} {
		text := must(Parse(c.issued.Text))(t)
		small := must(ParseCompact(c.issued.Compact))(t)
		for _, chain := range []*Chain{text, small} {
			if err := fresh(t, i).Verify(chain, ann, noon); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if chain.Leaf.Tier != c.tier || chain.Leaf.AMID != ann.AMID() || chain.Leaf.Serial != c.issued.Certificate.Serial {
				t.Errorf("%s: got %+v", name, chain.Leaf)
			}
		}
	}
}

// What the readers of 0.2 look at stands where they look (AgentMesh §1.6).
func TestShapesOfTheReference(t *testing.T) {
	i, ann := testIssuer(t), testKey(t, 2).Public()
	o := must(i.IssueOrganization(OrganizationFacts{ID: "0b6c", Name: "Example", Domain: "example.org"}))(t)
	amid := ann.AMID().String()
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"agent", must(i.IssueAgent(Agent{Key: ann, Tier: Verified}))(t).Text, []string{`"amid":"` + amid + `"`, `"expires_at":"2027-11-21T12:00:00Z"`,
			`"issued_at":"2026-11-21T12:00:00Z"`, `"issuer":"AgentMesh Registry"`, `"serial_number":"02000000000000000000000000000000"`,
			`"signing_public_key":"` + ann.Text(), `"tier":"Verified"`, `"type":"agent"`, `"version":1`, `,"signature":"`}},
		{"verification", must(i.IssueVerification(Verification{Key: ann, Provider: "github", ProviderID: "17"}))(t).Text, []string{
			`"type":"verification_certificate"`, `"version":1`, `"amid":"` + amid, `"provider":"github"`, `"provider_id":"17"`,
			`"verified_at":"2026-11-21T12:00:00Z"`, `"expires_at":"`, `"issuer":"agentmesh-registry"`, `,"signature":"`}},
		{"organisation", o.Text, []string{`"type":"org_root_certificate"`, `"organization_id":"0b6c"`, `"organization_name":"Example"`,
			`"domain":"example.org"`, `"tier":"Organization"`, `,"signature":"`}},
		{"member", must(i.IssueMember(o.Text, ann))(t).Text, []string{`"type":"agent_certificate"`, `"agent_amid":"` + amid,
			`"organization_id":"0b6c"`, `"organization_domain":"example.org"`,
			`"chain":["agentmesh-registry","example.org","` + amid + `"]`, `,"signature":"`}},
	} {
		raw := string(must(decodeText(c.text))(t))
		for _, want := range c.want {
			if !strings.Contains(raw, want) {
				t.Errorf("%s: no %s in %s", c.name, want, raw)
			}
		}
		if bare := c.text == base64.StdEncoding.EncodeToString([]byte(raw)); bare != (c.name != "agent") {
			t.Errorf("%s: bare base64 is %v", c.name, bare)
		}
	}
}

// The layout of registry-trust.md, byte by byte.
func TestCompactBytes(t *testing.T) {
	i, ann := testIssuer(t), testKey(t, 2).Public()
	got := must(i.IssueAgent(Agent{Key: ann, Tier: Verified}))(t).Compact
	root := i.Root()
	want := "01" + "01" + "00a4" + // version, links, length
		"01" + "01000000000000000000000000000000" + // kind, serial
		hex.EncodeToString(ann[:]) + hex.EncodeToString(root[:]) +
		"01" + "000000006b0187c0" + "000000006ce2bb40" + // tier, issued, expires
		"00" + "00" // organisation's id and domain
	if text := hex.EncodeToString(got); !strings.HasPrefix(text, want) || len(text) != len(want)+2*identity.SignatureSize {
		t.Errorf("got  %s\nwant %s and a signature", text, want)
	}
}

func TestLongestMemberFitsIntoAKnock(t *testing.T) {
	i := testIssuer(t)
	o := must(i.IssueOrganization(OrganizationFacts{ID: strings.Repeat("i", maxID), Name: strings.Repeat("n", maxName),
		Domain: strings.Repeat("d", maxDomain)}))(t)
	m := must(i.IssueMember(o.Text, testKey(t, 2).Public()))(t)
	if len(m.Compact) > MaxCompact || len(m.Text) > MaxText {
		t.Errorf("compact %d of %d bytes, text %d of %d", len(m.Compact), MaxCompact, len(m.Text), MaxText)
	}
	if err := fresh(t, i).Verify(must(ParseCompact(m.Compact))(t), testKey(t, 2).Public(), noon); err != nil {
		t.Error(err)
	}
}

func TestIssuerRefusesWhatNobodyWouldBelieve(t *testing.T) {
	i, ann := testIssuer(t), testKey(t, 2).Public()
	o := must(i.IssueOrganization(OrganizationFacts{ID: "0b6c", Domain: "example.org"}))(t)
	late := NewIssuer(testKey(t, 1), rand.Reader, at(noon.Add(Life)))
	foreign := NewIssuer(testKey(t, 9), rand.Reader, at(noon))
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"anonymous agent":          {second(i.IssueAgent(Agent{Key: ann})), ErrRequest},
		"tier that is none":        {second(i.IssueAgent(Agent{Key: ann, Tier: 3})), ErrRequest},
		"no provider":              {second(i.IssueVerification(Verification{Key: ann, ProviderID: "1"})), ErrRequest},
		"no account":               {second(i.IssueVerification(Verification{Key: ann, Provider: "github"})), ErrRequest},
		"organisation, no domain":  {second(i.IssueOrganization(OrganizationFacts{ID: "a"})), ErrRequest},
		"organisation, no id":      {second(i.IssueOrganization(OrganizationFacts{Domain: "example.org"})), ErrRequest},
		"organisation, long name":  {second(i.IssueOrganization(OrganizationFacts{ID: "a", Domain: "b", Name: strings.Repeat("n", 256)})), ErrRequest},
		"member of an agent":       {second(i.IssueMember(must(i.IssueAgent(Agent{Key: ann, Tier: Verified}))(t).Text, ann)), ErrRequest},
		"member of a dead one":     {second(late.IssueMember(o.Text, ann)), ErrExpired},
		"member of a foreign one":  {second(foreign.IssueMember(o.Text, ann)), ErrUntrusted},
		"member of something else": {second(i.IssueMember("hello", ann)), ErrUntrusted},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", name, c.err, c.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A member never outlives its organisation, whenever it was made.
func TestMemberEndsWithItsOrganisation(t *testing.T) {
	o := must(testIssuer(t).IssueOrganization(OrganizationFacts{ID: "0b6c", Domain: "example.org"}))(t)
	later := NewIssuer(testKey(t, 1), &dice{n: 7}, at(noon.Add(300*24*time.Hour)))
	m := must(later.IssueMember(o.Text, testKey(t, 2).Public()))(t)
	if want := noon.Add(Life); !m.Certificate.Expires.Equal(want) {
		t.Errorf("expires %s, want %s", m.Certificate.Expires, want)
	}
}

func TestEachOrganisationHasItsOwnKey(t *testing.T) {
	i := testIssuer(t)
	a := must(i.IssueOrganization(OrganizationFacts{ID: "a", Domain: "example.org"}))(t)
	b := must(i.IssueOrganization(OrganizationFacts{ID: "a", Domain: "example.org"}))(t)
	if a.Certificate.Key == b.Certificate.Key || a.Certificate.Key == i.Root() {
		t.Error("two certificates share a key")
	}
}

func TestStatementOpensOnlyUnderItsRoot(t *testing.T) {
	i := testIssuer(t)
	sealed := i.IssueStatement([]byte(`{"a":1}`))
	object, err := OpenStatement(i.Root(), sealed)
	if err != nil || string(object) != `{"a":1}` {
		t.Errorf("got %s, %v", object, err)
	}
	for name, bad := range map[string][]byte{
		"foreign key":  seal(testKey(t, 2), tagStatements, []byte(`{"a":1}`)),
		"changed":      bytes.Replace(sealed, []byte("1"), []byte("2"), 1),
		"other intent": seal(i.root, tagList, []byte(`{"a":1}`)),
		"nothing":      nil,
		"no signature": []byte(`{"a":1}`),
		"space":        append(bytes.Clone(sealed), ' '),
	} {
		if _, err := OpenStatement(i.Root(), bad); !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	i := testIssuer(f)
	o := must(i.IssueOrganization(OrganizationFacts{ID: "a", Domain: "example.org"}))(f)
	f.Add(must(i.IssueMember(o.Text, testKey(f, 2).Public()))(f).Text)
	f.Add(must(i.IssueAgent(Agent{Key: testKey(f, 2).Public(), Tier: Verified}))(f).Text)
	trust := fresh(f, i)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrUntrusted) {
				t.Fatalf("%v is no code", err)
			}
			return
		}
		_ = trust.Verify(c, c.Leaf.Key, noon)
	})
}

func FuzzParseCompact(f *testing.F) {
	i := testIssuer(f)
	o := must(i.IssueOrganization(OrganizationFacts{ID: "a", Domain: "example.org"}))(f)
	f.Add(must(i.IssueMember(o.Text, testKey(f, 2).Public()))(f).Compact)
	f.Add(must(i.IssueAgent(Agent{Key: testKey(f, 2).Public(), Tier: Verified}))(f).Compact)
	trust := fresh(f, i)
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := ParseCompact(raw)
		if err != nil {
			if !errors.Is(err, ErrUntrusted) {
				t.Fatalf("%v is no code", err)
			}
			return
		}
		_ = trust.Verify(c, c.Leaf.Key, noon)
	})
}

func FuzzParseList(f *testing.F) {
	i := testIssuer(f)
	f.Add(must(i.IssueList(1, []Revoked{{Serial: Serial{1}, At: noon, Reason: "other"}}))(f))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := ParseList(raw); err != nil && !errors.Is(err, ErrUntrusted) {
			t.Fatalf("%v is no code", err)
		}
	})
}

package certificate

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"amesh/identity"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write this package's file in docs/protocol/vectors anew")

// vector is one certificate in both forms, and what a verifier says of it at a time
// under the list of the file.
type vector struct {
	Name     string `json:"name"`
	Document string `json:"document"`
	Compact  string `json:"compact,omitempty"` // hex
	Now      int64  `json:"now"`
	Answer   string `json:"answer"` // empty: the tier is proved
	Tier     string `json:"tier"`
}

type vectorFile struct {
	About   string   `json:"about"`
	Made    string   `json:"made"`
	Root    string   `json:"root_seed"` // hex
	Agent   string   `json:"agent_seed"`
	RootKey string   `json:"root_key"`
	List    string   `json:"revocation_list"`
	Vectors []vector `json:"vectors"`
}

func makeVectors(t *testing.T) vectorFile {
	i, ann := testIssuer(t), testKey(t, 2)
	o := must(i.IssueOrganization(OrganizationFacts{ID: "0b6c3b1e-5c1f-4b61-9c1e-6a2f8a3a0001", Name: "Example & Söhne", Domain: "example.org"}))(t)
	f := vectorFile{
		About: "Certificates of a registry, in both forms (registry-trust.md §5), and what a verifier says of them (§7) under this list (§6).",
		Made:  "from fixed seeds, by go test ./registry/certificate -update",
		Root:  hex.EncodeToString(i.root.Seed()), Agent: hex.EncodeToString(ann.Seed()), RootKey: i.Root().Text(),
	}
	add := func(name string, c *Issued, now time.Time, answer error) {
		v := vector{Name: name, Document: c.Text, Compact: hex.EncodeToString(c.Compact), Now: now.Unix(), Tier: c.Certificate.Tier.String()}
		if answer != nil {
			v.Answer, v.Tier = answer.Error(), Anonymous.String()
		}
		f.Vectors = append(f.Vectors, v)
	}
	agent := must(i.IssueAgent(Agent{Key: ann.Public(), Tier: Verified}))(t)
	account := must(i.IssueVerification(Verification{Key: ann.Public(), Provider: "github", ProviderID: "17"}))(t)
	member := must(i.IssueMember(o.Text, ann.Public()))(t)
	revoked := must(i.IssueAgent(Agent{Key: ann.Public(), Tier: Verified}))(t)
	add("agent", agent, noon, nil)
	add("account", account, noon, nil)
	add("member", member, noon, nil)
	add("the list is too old", agent, noon.Add(Stale+time.Second), ErrStale)
	add("expired", member, noon.Add(Life), ErrExpired)
	add("not yet", member, noon.Add(-Skew-time.Second), ErrExpired)
	add("revoked", revoked, noon, ErrRevoked)
	add("an organisation is no agent", o, noon, ErrUntrusted)
	f.List = string(must(i.IssueList(1, []Revoked{{Serial: revoked.Certificate.Serial, At: noon, Reason: "key_compromise"}}))(t))
	return f
}

func TestVectors(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "protocol", "vectors", "registry", "tier_certificates.json")
	made := makeVectors(t)
	if *update {
		raw := must(json.MarshalIndent(made, "", " "))(t)
		if err := os.WriteFile(path, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var stored vectorFile
	if err := json.Unmarshal(must(os.ReadFile(path))(t), &stored); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(made, stored); diff != "" {
		t.Errorf("the file says otherwise: %s", diff)
	}
	ann := testKey(t, 2).Public()
	trust := must(Trust{Roots: []identity.PublicKey{must(identity.ParsePublicKeyText(stored.RootKey))(t)}}.Update([]byte(stored.List), noon))(t)
	for _, v := range stored.Vectors {
		now := time.Unix(v.Now, 0)
		chains := []*Chain{must(Parse(v.Document))(t)}
		if v.Compact != "" {
			chains = append(chains, must(ParseCompact(must(hex.DecodeString(v.Compact))(t)))(t))
		}
		for _, c := range chains {
			tier := c.Leaf.Tier
			err := trust.Verify(c, ann, now)
			if err != nil {
				tier = Anonymous
			}
			if code(err) != v.Answer || tier.String() != v.Tier {
				t.Errorf("%s: got %q and %s, want %q and %s", v.Name, code(err), tier, v.Answer, v.Tier)
			}
		}
	}
}

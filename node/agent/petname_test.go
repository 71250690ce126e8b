package agent

import (
	"errors"
	"strings"
	"testing"

	"amesh/node/api"
)

func TestPetnames(t *testing.T) {
	for in, want := range map[string]string{
		"travel-bot": "travel-bot", " Travel-Bot\n": "travel-bot", "a": "a", "7": "7", "a.b_c-d": "a.b_c-d",
		strings.Repeat("a", 32): strings.Repeat("a", 32),
	} {
		if got, err := petname(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", " ", "-a", "a-", ".a", "a b", "a/b", "a@b", "did:agentmesh:x", "müller", "траvel", "ａ", "a\u200bb", "a\x00",
		strings.Repeat("a", 33), "..", "_",
	} {
		if got, err := petname(in); err == nil {
			t.Errorf("%q is taken as %q", in, got)
		}
	}
}

// T78: names that could be taken for another's are refused. Of other scripts there is
// no letter at all; these are what the own one offers.
func TestT78Confusables(t *testing.T) {
	w := newWorld(t)
	ann := w.person("ann", "ask")
	number := byte(0)
	add := func(name string) error {
		number++
		amid := ann.AMID()
		amid[0] ^= number
		_, err := ann.AddContact(t.Context(), api.ContactRequest{AMID: amid.String(), Name: name})
		return err
	}
	for _, name := range []string{"travel-bot", "build-1", "modem", "warehouse", "qa", "desk"} {
		if err := add(name); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]api.Code{
		"travel-bot": api.CodeNameTaken, "TRAVEL-BOT": api.CodeNameTaken, " travel-bot ": api.CodeNameTaken,
		"travelbot": api.CodeNameLike, "travel_bot": api.CodeNameLike, "travel.bot": api.CodeNameLike, "travel-b0t": api.CodeNameLike,
		"trave1-bot": api.CodeNameLike, "travei-bot": api.CodeNameLike, "trauel-bot": api.CodeNameLike,
		"build-l": api.CodeNameLike, "build-i": api.CodeNameLike, "8uild-1": api.CodeNameLike, "bui1d-1": api.CodeNameLike,
		"rnodern": api.CodeNameLike, "moclem": api.CodeNameLike, "vvarehouse": api.CodeNameLike, "warehou5e": api.CodeNameLike,
		"9a": api.CodeNameLike, "clesk": api.CodeNameLike,
	} {
		var p *api.Problem
		if err := add(name); !errors.As(err, &p) || p.Code != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	// 200 names with one letter of another script in them.
	const foreign = "аеорсухіјѕԁɡһӏԛԝⅼｍոսνοτικρυχ０１ｏｌ"
	tried := 0
	for _, r := range foreign {
		for i, name := range []string{"travel-bot", "build-1", "modem", "warehouse", "qa", "desk", "x"} {
			tried++
			forged := name[:i%len(name)] + string(r) + name[min(i%len(name)+1, len(name)):]
			var p *api.Problem
			if err := add(forged); !errors.As(err, &p) || p.Code != api.CodeInvalid {
				t.Errorf("%s: %v", forged, err)
			}
		}
	}
	if tried < 200 {
		t.Fatalf("only %d were tried", tried)
	}
}

func TestNameInPlaceOfAnAMID(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	if _, err := ann.AddContact(t.Context(), api.ContactRequest{AMID: bob.AMID().String(), Name: "Bob"}); err != nil {
		t.Fatal(err)
	}
	m, err := ann.Send(t.Context(), api.SendRequest{To: "bob", Body: []byte("hi"), Wait: api.StateDelivered, TimeoutMS: 10_000}, "")
	if err != nil || m.State != api.StateDelivered || m.To != bob.AMID() {
		t.Fatalf("%+v, %v", m, err)
	}
	for name, ask := range map[string]func(string) error{
		"sessions": func(p string) error { _, err := ann.Sessions(p); return err },
		"inbox":    func(p string) error { _, err := ann.Inbox(api.InboxQuery{From: p}); return err },
		"contact":  func(p string) error { _, err := ann.Contact(p); return err },
		"compare":  func(p string) error { _, err := ann.Compare(t.Context(), p); return err },
		"verify": func(p string) error {
			_, err := ann.Verify(t.Context(), p, api.VerifyRequest{Matches: true})
			return err
		},
		"kill": func(p string) error { _, err := ann.Kill(t.Context(), p); return err },
	} {
		if err := ask("bob"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var p *api.Problem
		if err := ask("nobody"); !errors.As(err, &p) || p.Code != api.CodeNotFound {
			t.Errorf("%s of nobody: %v", name, err)
		}
		if err := ask("no/body"); !errors.As(err, &p) || p.Code != api.CodeInvalid {
			t.Errorf("%s of no name: %v", name, err)
		}
	}
}

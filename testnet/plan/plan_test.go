package plan

import (
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"amesh/identity"
)

func wish(change func(*Wish)) Wish {
	w := Wish{Name: "amesh-testnet", Nodes: 6, Relays: 2, NAT: "mixed", Public: DefaultPublic, Inside: DefaultInside}
	if change != nil {
		change(&w)
	}
	return w
}

// Nobody has somebody else's address, and everybody's is in the network it is said to be in.
func TestAddresses(t *testing.T) {
	p, err := New(wish(func(w *Wish) { w.Nodes, w.Relays = MaxNodes, MaxRelays }))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[netip.Addr]string)
	has := func(who, network string, a netip.Addr) {
		t.Helper()
		prefix := p.Public
		if n, ok := p.NetworkOf(network); ok {
			prefix = n.Prefix
		}
		if !prefix.Contains(a) {
			t.Errorf("%s has %s, which is not in %s", who, a, prefix)
		}
		if other := seen[a]; other != "" {
			t.Errorf("%s and %s both have %s", who, other, a)
		}
		seen[a] = who
	}
	for _, r := range p.Relays {
		has(r.Name, PublicNetwork, r.Address)
	}
	for _, n := range p.Nodes {
		has(n.Name, n.Network, n.Address)
	}
	for _, b := range p.Boxes {
		has(b.Name, b.Outside, b.OutsideAddress)
		inside, ok := p.NetworkOf(b.Inside)
		if !ok {
			t.Fatalf("%s: no network %s", b.Name, b.Inside)
		}
		has(b.Name+" inside", b.Inside, inside.BoxAddress)
		has(b.Name+" gateway", b.Inside, inside.Gateway)
	}
	for i, n := range p.Networks {
		for _, m := range p.Networks[:i] {
			if n.Prefix.Overlaps(m.Prefix) {
				t.Errorf("%s and %s overlap", n.Name, m.Name)
			}
		}
	}
}

func TestMixedHasEveryKind(t *testing.T) {
	p, err := New(wish(nil))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []Kind
	for _, n := range p.Nodes {
		kinds = append(kinds, n.Kind)
	}
	want := []Kind{Open, PortRestricted, Symmetric, UDPBlocked, FullCone, Double}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
	double, _ := p.Node("n6")
	inner, _ := p.BoxOf(double)
	outer, _ := p.boxInto(inner.Outside)
	if outer.Outside != PublicNetwork || inner.Outside != "n6-mid" || inner.Node != "n6" || outer.Node != "n6" {
		t.Errorf("n6 is behind %+v and %+v", inner, outer)
	}
	if none, err := New(wish(func(w *Wish) { w.NAT = "none" })); err != nil || len(none.Boxes) > 0 {
		t.Errorf("without NAT: %v, boxes %+v", err, none.Boxes)
	}
}

func TestWishesThatCannotBe(t *testing.T) {
	for name, change := range map[string]func(*Wish){
		"name":          func(w *Wish) { w.Name = "a/b" },
		"one node":      func(w *Wish) { w.Nodes = 1 },
		"too many":      func(w *Wish) { w.Nodes = MaxNodes + 1 },
		"no relay":      func(w *Wish) { w.Relays = 0 },
		"nine relays":   func(w *Wish) { w.Relays = MaxRelays + 1 },
		"nat":           func(w *Wish) { w.NAT = "some" },
		"small network": func(w *Wish) { w.Public = netip.MustParsePrefix("11.77.0.0/25") },
		"ipv6":          func(w *Wish) { w.Inside = netip.MustParsePrefix("fd00::/16") },
		"overlap":       func(w *Wish) { w.Public = netip.MustParsePrefix("10.77.3.0/24") },
	} {
		if _, err := New(wish(change)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "net")
	if _, err := Read(dir); !errors.Is(err, ErrNone) {
		t.Errorf("an empty folder: %v", err)
	}
	p, err := New(wish(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(dir, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if err := p.Write(dir, rand.Reader); !errors.Is(err, ErrThere) {
		t.Errorf("written twice: %v", err)
	}
	again, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, again, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	for _, n := range p.Nodes {
		id, err := identity.LoadIdentity(filepath.Join(Home(dir, n.Name), "agents", n.Name))
		if err != nil || id.AMID().String() != n.AMID {
			t.Errorf("%s: %v, want %s", n.Name, err, n.AMID)
		}
	}
	for _, r := range p.Relays {
		if !strings.HasPrefix(r.PeerID, "12D3KooW") || !strings.HasSuffix(r.Bootstrap()[0], "/quic-v1/p2p/"+r.PeerID) {
			t.Errorf("%s: %+v", r.Name, r)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, File), []byte(`{"version":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("another version: %v", err)
	}
}

// What is in a folder is somebody's.
func TestFolderOfSomebodyElse(t *testing.T) {
	dir := t.TempDir()
	env := filepath.Join(dir, ".env")
	if err := os.WriteFile(env, []byte("SECRET=1"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := New(wish(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(dir, rand.Reader); !errors.Is(err, ErrOccupied) {
		t.Errorf("written: %v", err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("in the folder: %v %v", all, err)
	}
}

func TestWhoCanHaveADirectPath(t *testing.T) {
	can := map[[2]Kind]bool{
		{Open, UDPBlocked}: true, {Open, Symmetric}: true, {PortRestricted, PortRestricted}: true,
		{PortRestricted, Double}: true, {Symmetric, FullCone}: true, {FullCone, Double}: true,
		{Symmetric, Symmetric}: false, {Symmetric, PortRestricted}: false, {Symmetric, Double}: false,
		{UDPBlocked, PortRestricted}: false, {UDPBlocked, FullCone}: false, {UDPBlocked, UDPBlocked}: false,
	}
	for pair, want := range can {
		if Direct(pair[0], pair[1]) != want || Direct(pair[1], pair[0]) != want {
			t.Errorf("%v: want %v", pair, want)
		}
	}
}

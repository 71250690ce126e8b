package node

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/api"
	"amesh/registry/certificate"
	rwire "amesh/registry/wire"
)

// town is a station without a DHT for the nodes, and a registry where they find each
// other.
func town(t *testing.T) (*station, *hall, Config) {
	t.Helper()
	s, h := newStation(t), newHall(t)
	return s, h, Config{Relays: []string{s.url}, Registries: []string{h.url}}
}

func warned(t *testing.T, r *running, code string) *api.Warning {
	t.Helper()
	s, err := r.api.Status(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, reg := range s.Registries {
		for _, w := range reg.Warnings {
			if w.Code == code {
				told := slices.ContainsFunc(s.Degraded, func(d string) bool { return strings.Contains(d, reg.URL) && strings.Contains(d, code) })
				if !told {
					t.Errorf("%s is not among the problems: %q", code, s.Degraded)
				}
				return &w
			}
		}
	}
	return nil
}

// mustWarn is a warning of the registry's that names it and the agent.
func mustWarn(t *testing.T, r *running, code string, about identity.AMID) {
	t.Helper()
	w := warned(t, r, code)
	if w == nil {
		t.Fatalf("no warning %s", code)
	}
	if w.About == nil || *w.About != about || w.Count < 1 {
		t.Errorf("%s: %+v", code, w)
	}
}

// A registry is enough to find a stranger and to knock with one-time keys while no DHT is
// there; what it has of an agent comes and goes with the node.
func TestStrangersMeetThroughARegistry(t *testing.T) {
	_, h, cfg := town(t)
	a, b := startNode(t, cfg), startNode(t, cfg)
	b.set("strangers", "accept")
	h.has(a.amid)
	h.has(b.amid)
	h.mu.Lock()
	keys := len(h.keys[b.amid.String()])
	h.mu.Unlock()
	if keys != depositFull+depositFullKEM {
		t.Errorf("%d one-time keys at the registry, want %d", keys, depositFull+depositFullKEM)
	}
	if m := a.send(b, "hello", api.SendRequest{}); m.State != api.StateDelivered {
		t.Fatalf("%s (%s)", m.State, m.Reason)
	}
	h.mu.Lock()
	left := len(h.keys[b.amid.String()])
	h.mu.Unlock()
	if left != keys-2 {
		t.Errorf("%d keys left, want %d: the knock used one of each kind", left, keys-2)
	}
	s, err := a.api.Status(t.Context(), "")
	if err != nil || len(s.Registries) != 1 || s.Registries[0].State != "ok" || s.Registries[0].Kind != "amesh" || s.Registries[0].Registered != 1 || len(s.Registries[0].Warnings) > 0 {
		t.Errorf("%+v, %v", s.Registries, err)
	}
	b.end()
	h.until("bob is away", func() bool { return h.status[b.amid.String()] == rwire.StatusOffline })
}

// A node with a registry that is not there works without, and says so.
func TestRegistryAway(t *testing.T) {
	s := newStation(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	cfg := Config{Relays: []string{s.url}, Bootstrap: []string{s.boot}, Registries: []string{gone.URL}}
	a, b := startNode(t, cfg), startNode(t, cfg)
	b.set("strangers", "accept")
	if m := a.send(b, "hello", api.SendRequest{}); m.State != api.StateDelivered {
		t.Fatalf("%s (%s)", m.State, m.Reason)
	}
	st, err := a.api.Status(t.Context(), "")
	if err != nil || !slices.ContainsFunc(st.Degraded, func(d string) bool { return strings.HasPrefix(d, "the registry "+gone.URL+" does not work") }) {
		t.Errorf("%q, %v", st.Degraded, err)
	}
}

// liars is two nodes that find each other only through a registry, which begins to lie
// once it has all.
func liars(t *testing.T, lie func(h *hall, b *running)) (h *hall, a, b *running) {
	t.Helper()
	_, h, cfg := town(t)
	b = startNode(t, cfg)
	b.set("strangers", "accept")
	h.has(b.amid)
	a = startNode(t, cfg)
	h.has(a.amid)
	h.mu.Lock()
	lie(h, b)
	h.mu.Unlock()
	return h, a, b
}

// staysApart sends a message that must not be knocked for.
func staysApart(t *testing.T, a, b *running) {
	t.Helper()
	m := a.send(b, "hello", api.SendRequest{TimeoutMS: 1500})
	if m.State != api.StateWaiting || m.Reason != api.ReasonNoBundle {
		t.Errorf("%s (%s), want it to wait for keys", m.State, m.Reason)
	}
}

// T16: a registry that swaps the signed prekey in a record gets no knock, and its name is
// in the status.
func TestT16RegistrySwapsAPrekey(t *testing.T) {
	h, a, b := liars(t, func(h *hall, b *running) {
		rec, err := identity.ParseAgentRecord(h.objects["records/"+b.amid.String()])
		if err != nil {
			t.Fatal(err)
		}
		h.lie = func(_ string, raw []byte) []byte {
			return bytes.Replace(raw, rec.Bundle.SignedPrekey[:], bytes.Repeat([]byte{9}, 32), 1)
		}
	})
	staysApart(t, a, b)
	mustWarn(t, a, warnForged, b.amid)
	h.mu.Lock()
	h.lie = nil
	h.mu.Unlock()
	if m := a.send(b, "again", api.SendRequest{}); m.State != api.StateDelivered {
		t.Errorf("once it is honest: %s (%s)", m.State, m.Reason)
	}
}

// T16: a registry that leaves the KEM key out of a bundle gets no knock without one.
func TestT16RegistryStripsTheKEMKey(t *testing.T) {
	_, a, b := liars(t, func(h *hall, b *running) {
		rec, err := identity.ParseAgentRecord(h.objects["records/"+b.amid.String()])
		if err != nil {
			t.Fatal(err)
		}
		h.lie = func(_ string, raw []byte) []byte { return bytes.Replace(raw, rec.Bundle.KEMKey, nil, 1) }
	})
	staysApart(t, a, b)
	mustWarn(t, a, warnForged, b.amid)
}

// T16, T59: a registry that replays an old bundle after a newer one was seen is found out,
// and the newer one stays in use.
func TestT16RegistryReplaysABundle(t *testing.T) {
	h, a, b := liars(t, func(*hall, *running) {})
	key := "records/" + b.amid.String()
	h.mu.Lock()
	old := bytes.Clone(h.objects[key])
	h.mu.Unlock()
	if _, err := b.api.RotateKeys(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	h.until("the new record", func() bool { return !bytes.Equal(h.objects[key], old) })
	if m := a.send(b, "hello", api.SendRequest{}); m.State != api.StateDelivered {
		t.Fatalf("%s (%s)", m.State, m.Reason)
	}
	h.mu.Lock()
	h.lie = func(kind string, raw []byte) []byte {
		if kind == "records" {
			return old
		}
		return raw
	}
	h.mu.Unlock()
	l, err := a.api.Lookup(t.Context(), "", b.amid.String(), false)
	if err != nil || l.Record == nil || l.Record.From != sourceCache || l.Record.BundleSequence < 2 {
		t.Errorf("%+v, %v", l.Record, err)
	}
	mustWarn(t, a, warnStale, b.amid)
}

// T17: a registry that serves one one-time key twice costs a knock more; both agents
// talk, and the node that left the key there says whose fault it is.
func TestT17RegistryServesOneKeyTwice(t *testing.T) {
	h, a, b := liars(t, func(h *hall, _ *running) { h.twice = true })
	c := startNode(t, a.cfgElsewhere())
	h.has(c.amid)
	for _, from := range []*running{a, c} {
		if m := from.send(b, "hello", api.SendRequest{}); m.State != api.StateDelivered {
			t.Fatalf("%s (%s)", m.State, m.Reason)
		}
	}
	mustWarn(t, b, warnTwice, c.amid)
}

// A registry that makes more of an agent than it can prove is found out by who looks.
func TestRegistryLiesAboutATier(t *testing.T) {
	_, a, b := liars(t, func(h *hall, _ *running) { h.tier = rwire.TierOrganization })
	l, err := a.api.Lookup(t.Context(), "", b.amid.String(), false)
	if err != nil || l.Tier.Tier != "anonymous" || l.Tier.Proof != "" || l.Tier.Claimed != "organization" {
		t.Errorf("%+v, %v", l.Tier, err)
	}
	mustWarn(t, a, warnTier, b.amid)
}

// A tier counts when a certificate under the root key that the registry showed first
// proves it for this very agent, and no longer.
func TestTierIsProvedByACertificate(t *testing.T) {
	_, h, cfg := town(t)
	issuer := certificate.NewIssuer(freshKey(t), rand.Reader, time.Now)
	h.issuer = issuer
	b := startNode(t, cfg)
	h.has(b.amid)
	a := startNode(t, cfg)
	look := func() api.LookupTier {
		t.Helper()
		l, err := a.api.Lookup(t.Context(), "", b.amid.String(), false)
		if err != nil {
			t.Fatal(err)
		}
		return l.Tier
	}
	h.mu.Lock()
	own := h.agents[b.amid.String()].SigningPublicKey
	h.mu.Unlock()
	key, err := identity.ParsePublicKeyText(own)
	if err != nil {
		t.Fatal(err)
	}
	show := func(i *certificate.Issuer, of identity.PublicKey, claimed rwire.Tier) {
		t.Helper()
		c, err := i.IssueVerification(certificate.Verification{Key: of, Provider: "github", ProviderID: "7"})
		if err != nil {
			t.Fatal(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.certificate, h.tier = c.Text, claimed
	}
	show(issuer, key, rwire.TierVerified)
	eventually(t, "the registry's list", func() bool { return look().Proof != "" })
	if tier := look(); tier.Tier != "verified" || !strings.Contains(tier.Proof, "github") || tier.From != h.url || tier.Expires == nil {
		t.Errorf("%+v", tier)
	}
	other := freshKey(t)
	for name, lie := range map[string]func(){
		"another's certificate":    func() { show(issuer, other.Public(), rwire.TierVerified) },
		"a higher tier than it is": func() { show(issuer, key, rwire.TierOrganization) },
		"under another root":       func() { show(certificate.NewIssuer(other, rand.Reader, time.Now), key, rwire.TierVerified) },
	} {
		before := 0
		if w := warned(t, a, warnTier); w != nil {
			before = w.Count
		}
		lie()
		if tier := look(); tier.Tier != "anonymous" || tier.Proof != "" {
			t.Errorf("%s: %+v", name, tier)
		}
		if w := warned(t, a, warnTier); w == nil || w.Count != before+1 {
			t.Errorf("%s: warned %+v", name, w)
		}
	}
	h.mu.Lock()
	later := certificate.NewIssuer(other, rand.Reader, time.Now)
	h.issuer = later
	h.mu.Unlock()
	show(later, key, rwire.TierVerified)
	a.end()
	a.start() // it looks at the root again, and remembers the first
	eventually(t, "the changed root", func() bool { return warned(t, a, warnRoot) != nil })
	if tier := look(); tier.Proof != "" {
		t.Errorf("under a root that came later: %+v", tier)
	}
}

// A stranger's knock shows what its registry knows of it; who demands more than it can show
// refuses it.
func TestKnockShowsItsTier(t *testing.T) {
	_, h, cfg := town(t)
	h.issuer = certificate.NewIssuer(freshKey(t), rand.Reader, time.Now)
	h.compacts = make(map[string][]byte)
	a, b := startNode(t, cfg), startNode(t, cfg)
	b.set("strangers", "accept")
	b.set("min_tier", "verified")
	h.has(a.amid)
	h.has(b.amid)
	if m := a.send(b, "who am I", api.SendRequest{}); m.State != api.StateRefused {
		t.Errorf("without a certificate: %s (%s)", m.State, m.Reason)
	}
	h.mu.Lock()
	key, err := identity.ParsePublicKeyText(h.agents[a.amid.String()].SigningPublicKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.issuer.IssueVerification(certificate.Verification{Key: key, Provider: "github", ProviderID: "7"})
	if err != nil {
		t.Fatal(err)
	}
	h.compacts[a.amid.String()] = c.Compact
	before := h.calls["GET /v1/amesh/certificates/{amid}"]
	h.mu.Unlock()
	a.end()
	a.start()
	h.until("ann has her certificate", func() bool { return h.calls["GET /v1/amesh/certificates/{amid}"] > before })
	eventually(t, "the message arrives", func() bool {
		return a.send(b, "a person", api.SendRequest{}).State == api.StateDelivered
	})
	b.set("min_tier", "organization")
	d := startNode(t, cfg)
	h.has(d.amid)
	if m := d.send(b, "nobody", api.SendRequest{}); m.State != api.StateRefused {
		t.Errorf("without a certificate: %s (%s)", m.State, m.Reason)
	}
	knocks, err := b.api.Knocks(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var tiers []string
	for _, k := range knocks {
		if k.State == "accepted" {
			tiers = append(tiers, k.Tier+" "+k.Rule)
		}
	}
	if !slices.Equal(tiers, []string{"verified strangers-accept"}) {
		t.Errorf("bob's owner sees %q", tiers)
	}
}

// T11: a peer that was off when a key left hears of it from the registry, where the
// statement of the key itself lies.
func TestT11RevocationThroughARegistry(t *testing.T) {
	s, h, cfg := town(t)
	a, b := startNode(t, cfg), startNode(t, cfg)
	b.set("strangers", "accept")
	h.has(a.amid)
	h.has(b.amid)
	if m := a.send(b, "hello", api.SendRequest{}); m.State != api.StateDelivered {
		t.Fatalf("%s (%s)", m.State, m.Reason)
	}
	a.end()
	s.end() // what bob tells alice himself shall not lie there
	if _, err := b.api.Revoke(t.Context(), "", api.RevokeRequest{Reason: "compromised"}); err != nil {
		t.Fatal(err)
	}
	key := "revocations/" + b.amid.String()
	h.until("bob's statement", func() bool { return h.objects[key] != nil })
	b.end()
	h.mu.Lock()
	good := h.objects[key]
	bent := bytes.Clone(good)
	bent[len(bent)/2] ^= 1
	h.objects[key] = bent
	h.mu.Unlock()
	a.start()
	eventually(t, "a saw the forgery", func() bool { return warned(t, a, warnRevocation) != nil })
	if c, err := a.api.Contacts(t.Context(), ""); err != nil || len(c) != 1 || c[0].Revoked != nil {
		t.Errorf("after a forgery: %+v, %v", c, err)
	}
	h.mu.Lock()
	h.objects[key] = good
	h.mu.Unlock()
	a.end()
	a.start()
	eventually(t, "the revocation", func() bool {
		list, err := a.api.Contacts(t.Context(), "")
		return err == nil && len(list) == 1 && list[0].Revoked != nil && list[0].Revoked.Reason == "compromised"
	})
}

// The agent is registered before its first line to a relay that could use what is signed
// for it (relay.md §2).
func TestRegisteredBeforeALegacyRelay(t *testing.T) {
	h := newHall(t)
	book, err := openRegistryBook(t.Context(), store.NewMemory(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := newRegistries([]string{h.url}, false, book, registryHouse{rooms: func() []*room { return nil }, joined: func() {}, clock: time.Now, log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	amid := freshKey(t).AMID()
	if all.enrolled(amid) {
		t.Error("enrolled before anything")
	}
	if err := book.remember(t.Context(), registration{amid, h.url}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if !all.enrolled(amid) || !book.pinned(h.url) {
		t.Error("not enrolled once it is registered")
	}
	var none *registries
	if !none.enrolled(amid) {
		t.Error("without a registry nothing is waited for")
	}
}

package agents

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"amesh/gateway/store"
)

func newDirectory(t *testing.T, r *rows, edit func(*Config)) *Directory {
	t.Helper()
	cfg := Config{Domain: "north.test", Rows: r}
	if edit != nil {
		edit(&cfg)
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func register(t *testing.T, d *Directory, r Registration) (store.Agent, string) {
	t.Helper()
	if r.Mode == "" {
		r.Mode = "pull"
	}
	a, key, err := d.Register(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return a, key
}

// Checklist 51, 52: a bare name and a full address of our domain are the same.
func TestAgentIsRegisteredByNameOrAddress(t *testing.T) {
	d := newDirectory(t, &rows{}, nil)
	a, key := register(t, d, Registration{Address: "Sales"})
	if a.Address != "Sales@north.test" || len(key) != 43 || a.Created.IsZero() || a.LastAccess != a.Created {
		t.Errorf("%+v with key %q", a, key)
	}
	b, _ := register(t, d, Registration{Address: "support@North.test."})
	if b.Address != "support@north.test" {
		t.Errorf("%+v", b)
	}
	for _, name := range []string{"Sales", "sales", "SALES"} {
		if got, ok := d.Lookup(name); !ok || got.Address != a.Address {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if d.Count() != 2 {
		t.Errorf("%d agents", d.Count())
	}
}

// Checklist 53: a name is given once, in whatever letters, by whatever gateway.
func TestNameIsGivenOnce(t *testing.T) {
	r := &rows{}
	here, there := newDirectory(t, r, nil), newDirectory(t, r, nil)
	register(t, here, Registration{Address: "sales"})
	for name, d := range map[string]*Directory{"here": here, "at another gateway": there} {
		for _, address := range []string{"sales", "SALES@north.test"} {
			if _, _, err := d.Register(t.Context(), Registration{Address: address, Mode: "pull"}); !errors.Is(err, ErrExists) {
				t.Errorf("%s %s: %v", address, name, err)
			}
		}
	}
}

func TestKeyOpensItsOwnAgentOnly(t *testing.T) {
	d := newDirectory(t, &rows{}, nil)
	ann, annKey := register(t, d, Registration{Address: "ann"})
	_, bobKey := register(t, d, Registration{Address: "bob"})
	if got, ok := d.Verify("Ann", annKey); !ok || got.Address != ann.Address {
		t.Error("ann's key does not open ann")
	}
	if got, ok := d.Authenticate(annKey); !ok || got.Address != ann.Address {
		t.Error("ann's key is not known")
	}
	for name, key := range map[string]string{
		"another agent's": bobKey, "none": "", "a beginning": annKey[:42], "a longer one": annKey + "A",
		"in other letters": strings.ToLower(annKey), "its hash": string(ann.KeyHash), "endless": strings.Repeat("A", 1<<16),
	} {
		if _, ok := d.Verify("ann", key); ok {
			t.Errorf("%s opens ann", name)
		}
		if got, ok := d.Authenticate(key); ok && got.Address == ann.Address {
			t.Errorf("%s is taken for ann's", name)
		}
	}
	if _, ok := d.Verify("carol", annKey); ok {
		t.Error("ann's key opens an agent that there is not")
	}
}

// Checklist 65: rotation ends the old key at once.
func TestRotationEndsTheOldKeyAtOnce(t *testing.T) {
	d := newDirectory(t, &rows{}, nil)
	_, old := register(t, d, Registration{Address: "ann"})
	_, key, err := d.Rotate(t.Context(), "ann@north.test", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Verify("ann", old); ok {
		t.Error("the old key still opens")
	}
	if _, ok := d.Authenticate(old); ok {
		t.Error("the old key is still known")
	}
	if _, ok := d.Authenticate(key); !ok || len(key) != 43 {
		t.Errorf("the new key %q is not known", key)
	}
	if _, _, err := d.Rotate(t.Context(), "bob", time.Time{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("of nobody: %v", err)
	}
}

func TestKeyCanEnd(t *testing.T) {
	now := time.Now()
	d := newDirectory(t, &rows{}, func(c *Config) { c.Clock = func() time.Time { return now } })
	end := now.Add(time.Hour)
	_, key := register(t, d, Registration{Address: "ann", KeyExpires: end})
	now = end.Add(-1)
	if _, ok := d.Authenticate(key); !ok {
		t.Error("ended too early")
	}
	now = end
	if _, ok := d.Authenticate(key); ok {
		t.Error("does not end")
	}
	if _, ok := d.Verify("ann", key); ok {
		t.Error("does not end for its agent")
	}
	if _, _, err := d.Rotate(t.Context(), "ann", now); !errors.Is(err, ErrInvalid) {
		t.Errorf("a key that is over when it is made: %v", err)
	}
	_, key, err := d.Rotate(t.Context(), "ann", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(1000 * time.Hour)
	if _, ok := d.Authenticate(key); !ok {
		t.Error("a key without an end ended")
	}
}

// The column may be empty: such an agent can be changed, removed and given a key all the same.
func TestAgentWithoutAKeyIsLikeAnyOther(t *testing.T) {
	table := &rows{version: 1, list: []store.Agent{
		{Address: "sales@north.test", Mode: store.Pull}, {Address: "stock@north.test", Mode: store.Pull, KeyHash: []byte("short")},
	}}
	d := newDirectory(t, table, nil)
	role := "clerk"
	if _, err := d.Update(t.Context(), "sales", Change{Role: &role}); err != nil {
		t.Error(err)
	}
	_, key, err := d.Rotate(t.Context(), "sales", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if a, ok := d.Authenticate(key); !ok || a.Address != "sales@north.test" {
		t.Errorf("the new key opens %q", a.Address)
	}
	if err := d.Remove(t.Context(), "stock"); err != nil {
		t.Error(err)
	}
}

func TestChosenKeysAreLongAndSalted(t *testing.T) {
	const chosen = "twenty-characters-ok"
	d := newDirectory(t, &rows{}, func(c *Config) { c.Salt = "pepper" })
	if _, _, err := d.Register(t.Context(), Registration{Address: "ann", Mode: "pull", Key: chosen[1:]}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a short key: %v", err)
	}
	a, key := register(t, d, Registration{Address: "ann", Key: chosen})
	if key != chosen {
		t.Errorf("made %q of it", key)
	}
	if plain := newDirectory(t, &rows{}, nil).hash(chosen); slices.Equal(a.KeyHash, plain[:]) {
		t.Error("the salt is not in the hash")
	}
	for name, key := range map[string]string{"another's": chosen, "with a space": chosen + " x", "not ASCII": chosen + "é", "endless": strings.Repeat("x", MaxChosenKey+1)} {
		if _, _, err := d.Register(t.Context(), Registration{Address: "bob", Mode: "pull", Key: key}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	lax := newDirectory(t, &rows{}, func(c *Config) { c.ShortKeys = true })
	if _, key := register(t, lax, Registration{Address: "ann", Key: "my-own-key"}); key != "my-own-key" {
		t.Errorf("as agentry does it: %q", key)
	}
}

func TestRemovedAgentIsNobody(t *testing.T) {
	r := &rows{}
	d := newDirectory(t, r, nil)
	a, key := register(t, d, Registration{Address: "Ann"})
	d.Seen(a)
	if err := d.Remove(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	if _, ok := d.Lookup("ann"); ok {
		t.Error("still there")
	}
	if _, ok := d.Authenticate(key); ok {
		t.Error("its key still counts")
	}
	if len(r.list) != 0 || len(d.seen)+len(d.dirty) != 0 {
		t.Error("something of it is left")
	}
	for _, address := range []string{"ann", "bob"} {
		if err := d.Remove(t.Context(), address); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if err := d.Remove(t.Context(), "ann@south.test"); !errors.Is(err, ErrInvalid) {
		t.Errorf("of another domain: %v", err)
	}
	if _, again := register(t, d, Registration{Address: "ann"}); again == key {
		t.Error("the name brought its key back")
	}
}

func TestUpdateChangesWhatItNames(t *testing.T) {
	d := newDirectory(t, &rows{}, nil)
	a, key := register(t, d, Registration{Address: "ann", Role: "clerk", Schemas: []string{"agntcy:shop.*"}})
	if !a.RequiresSchema || a.PushSecret != "" {
		t.Errorf("%+v", a)
	}
	push, target, none := "push", "https://ann.test/in", []string{}
	b, err := d.Update(t.Context(), "ANN", Change{Mode: &push, PushTarget: &target, Schemas: &none})
	if err != nil {
		t.Fatal(err)
	}
	if b.Mode != store.Push || b.PushTarget != target || b.Role != "clerk" || b.RequiresSchema || b.PushSecret == "" || b.Address != a.Address {
		t.Errorf("%+v", b)
	}
	if _, ok := d.Authenticate(key); !ok {
		t.Error("the key changed")
	}
	pull := "pull"
	if _, err := d.Update(t.Context(), "ann", Change{Mode: &pull}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a target without push: %v", err)
	}
	if got, _ := d.Lookup("ann"); got.Mode != store.Push {
		t.Error("a refused change was made")
	}
	if _, err := d.Update(t.Context(), "bob", Change{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("of nobody: %v", err)
	}
}

// What one gateway of a database does counts at the other within a second, and nothing is
// read again when nothing has changed.
func TestDirectoryFollowsTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rows{}
		here, there := newDirectory(t, r, nil), newDirectory(t, r, nil)
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- here.Run(ctx) }()
		a, key := register(t, there, Registration{Address: "ann"})
		time.Sleep(time.Second)
		if _, ok := here.Authenticate(key); !ok {
			t.Error("an agent that was registered elsewhere is not known")
		}
		reads := r.readings()
		time.Sleep(time.Minute)
		if n := r.readings(); n != reads {
			t.Errorf("%d readings of what had not changed", n-reads)
		}
		if _, _, err := there.Rotate(ctx, "ann", time.Time{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, ok := here.Authenticate(key); ok {
			t.Error("a key that was rotated elsewhere still counts")
		}
		here.Seen(a)
		time.Sleep(TouchEvery)
		if got := r.first().LastAccess; !got.After(a.LastAccess) {
			t.Error("last access is not written down")
		}
		if err := there.Remove(ctx, "ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if here.Count() != 0 {
			t.Error("an agent that was removed elsewhere is still here")
		}
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A rotation here is not undone by a change that another gateway makes at the same time.
func TestChangeElsewhereBringsNoKeyBack(t *testing.T) {
	r := &rows{}
	here, there := newDirectory(t, r, nil), newDirectory(t, r, nil)
	_, old := register(t, here, Registration{Address: "ann"})
	if err := there.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	stale, _ := there.Lookup("ann")
	if _, _, err := here.Rotate(t.Context(), "ann", time.Time{}); err != nil {
		t.Fatal(err)
	}
	stale.Role = "clerk"
	if err := r.UpdateAgent(t.Context(), stale); err != nil {
		t.Fatal(err)
	}
	r.version++
	if err := here.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := here.Authenticate(old); ok {
		t.Error("the old key is back")
	}
}

func TestDirectoryOutlivesAnOutage(t *testing.T) {
	r := &rows{}
	d := newDirectory(t, r, nil)
	_, key := register(t, d, Registration{Address: "ann"})
	r.err = errors.New("away")
	if err := d.Load(t.Context()); !errors.Is(err, r.err) {
		t.Errorf("load: %v", err)
	}
	if _, ok := d.Authenticate(key); !ok {
		t.Error("what was known is forgotten")
	}
	if _, _, err := d.Register(t.Context(), Registration{Address: "bob", Mode: "pull"}); !errors.Is(err, r.err) || errors.Is(err, ErrInvalid) {
		t.Errorf("register: %v", err)
	}
	if _, ok := d.Lookup("bob"); ok {
		t.Error("an agent that is nowhere written is known")
	}
}

func TestAgentsOfAnotherDomainStayOut(t *testing.T) {
	r := &rows{version: 1, list: []store.Agent{{Address: "ann@old.test"}, {Address: "bob@North.test"}}}
	d := newDirectory(t, r, nil)
	if _, ok := d.Lookup("ann"); ok || d.Count() != 1 {
		t.Error("an agent of the domain that the gateway had once is known")
	}
}

func TestSchemasOfAllAgents(t *testing.T) {
	d := newDirectory(t, &rows{}, nil)
	register(t, d, Registration{Address: "ann", Schemas: []string{"agntcy:shop.*", "agntcy:bank.pay.v1"}})
	register(t, d, Registration{Address: "bob", Schemas: []string{"agntcy:shop.*"}})
	if got := d.Schemas(); !slices.Equal(got, []string{"agntcy:bank.pay.v1", "agntcy:shop.*"}) {
		t.Error(got)
	}
}

// Readers never wait for writers, and never see half a change.
func TestDirectoryUnderConcurrency(t *testing.T) {
	d := newDirectory(t, &rows{}, nil)
	_, key := register(t, d, Registration{Address: "ann"})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 50 {
				name := fmt.Sprintf("a%d-%d", i, n)
				if _, _, err := d.Register(t.Context(), Registration{Address: name, Mode: "pull"}); err != nil {
					t.Error(err)
				}
				if n%2 == 0 {
					if err := d.Remove(t.Context(), name); err != nil {
						t.Error(err)
					}
				}
			}
		})
		wg.Go(func() {
			for range 500 {
				a, ok := d.Authenticate(key)
				if !ok {
					t.Error("ann is gone")
				}
				d.Seen(a)
				for range d.All() {
				}
			}
		})
	}
	wg.Wait()
	if d.Count() != 101 {
		t.Errorf("%d agents", d.Count())
	}
}

// A lookup among thousands costs what it costs alone.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{1, 5000} {
		r := &rows{version: 1}
		d, err := New(Config{Domain: "north.test", Rows: r})
		if err != nil {
			b.Fatal(err)
		}
		for i := range n {
			hash := d.hash(fmt.Sprint(i))
			r.list = append(r.list, store.Agent{Address: fmt.Sprintf("agent-%d@north.test", i), KeyHash: hash[:]})
		}
		if err := d.Load(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, ok := d.Lookup("agent-0"); !ok {
					b.Fatal("not found")
				}
			}
		})
	}
}

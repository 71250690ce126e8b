package agent

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/api"
	"amesh/ratchet"
)

// saved is a backup, as it stands inside its encryption.
type saved struct {
	rows  [][2][]byte
	epoch uint32
}

// backUp makes a backup of a person, running or not.
func backUp(t *testing.T, p *person) saved {
	t.Helper()
	var s saved
	err := p.mem.View(func(r store.Reader) (err error) {
		if s.epoch, err = StoredEpoch(r, p.key.AMID()); err != nil {
			return err
		}
		return Backup(r, p.key.AMID(), func(k, v []byte) error {
			s.rows = append(s.rows, [2][]byte{bytes.Clone(k), bytes.Clone(v)})
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// restore gives a person a new home on another machine, made of a backup.
func restore(t *testing.T, w *world, p *person, s saved, epoch uint32) {
	t.Helper()
	w.end(p)
	p.mem, p.mark, p.state = store.NewMemory(), &memoryMark{}, newStateKey(t)
	r := NewRestorer(p.mem, p.key.AMID())
	for _, row := range s.rows {
		if err := r.Row(t.Context(), row[0], row[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Done(t.Context(), epoch); err != nil {
		t.Fatal(err)
	}
	w.start(p)
	if p.Epoch() != epoch {
		t.Fatalf("%s is of epoch %d after a restore to %d", p.name, p.Epoch(), epoch)
	}
}

func newStateKey(t *testing.T) *store.StateKey {
	t.Helper()
	key, err := store.LoadStateKey(filepath.Join(t.TempDir(), "state.key"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// kindConstants are the constants of this package that name kinds of rows or counters.
func kindConstants(t *testing.T, prefix string) map[string]byte {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile("^" + prefix + "[A-Z]")
	found := make(map[string]byte)
	for _, file := range files {
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(syntax, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, id := range spec.Names {
				if !name.MatchString(id.Name) || i >= len(spec.Values) {
					continue
				}
				if lit, ok := spec.Values[i].(*ast.BasicLit); ok && lit.Kind == token.CHAR {
					c, err := strconv.Unquote(lit.Value)
					if err != nil || len(c) != 1 {
						t.Fatalf("%s is %s", id.Name, lit.Value)
					}
					found[id.Name] = c[0]
				}
			}
			return true
		})
	}
	return found
}

// Whoever adds a kind of row or a counter says whether a backup holds it.
func TestBackupKnowsEveryKind(t *testing.T) {
	for prefix, c := range map[string]struct {
		said  map[byte]bool
		least int
		where string
	}{
		"row":     {inBackup, 25, "inBackup"},
		"counter": {countersInBackup, 5, "countersInBackup"},
	} {
		kinds := kindConstants(t, prefix)
		if len(kinds) < c.least {
			t.Fatalf("%d kinds were found, there are more: %v", len(kinds), kinds)
		}
		known := make(map[byte]string)
		for name, kind := range kinds {
			if other := known[kind]; other != "" {
				t.Errorf("%s and %s are both %q", name, other, kind)
			}
			known[kind] = name
			if _, said := c.said[kind]; !said {
				t.Errorf("%s (%q) is not in %s of backup.go: say whether a backup holds it", name, kind, c.where)
			}
		}
		for kind := range c.said {
			if known[kind] == "" {
				t.Errorf("%s names %q, which nothing is", c.where, kind)
			}
		}
	}
}

// T31: nothing that could seal or open an envelope is in a backup, and nothing that was
// sealed: neither as it is stored nor as it is inside.
func TestBackupHoldsNothingThatSeals(t *testing.T) {
	w := newWorld(t)
	ann, bob, cid := w.person("ann", "accept"), w.person("bob", "accept"), w.person("cid", "ask")
	w.send(ann, bob, "to bob", api.StateDelivered)
	w.send(bob, ann, "to ann", api.StateDelivered)
	w.send(ann, cid, "please", api.StateAccepted)
	waitForKnock(t, cid)
	w.end(bob)
	w.send(ann, bob, strings.Repeat("long ", 20_000), api.StateAccepted)
	until(t, ann, "the long message left", func() bool { return count(t, ann, rowSealed) > 2 })
	w.end(ann)

	var plain bytes.Buffer
	for _, row := range backUp(t, ann).rows {
		plain.Write(row[0])
		plain.Write(row[1])
	}
	canary := func(what string, b []byte) {
		t.Helper()
		if len(b) < 8 || bytes.Contains(plain.Bytes(), b) {
			t.Errorf("%s is in the backup, or is no canary: %.80q", what, b)
		}
	}
	kinds := make(map[byte]int)
	err := ann.mem.View(func(r store.Reader) error {
		return r.Scan(ann.amid[:], nil, func(k, v []byte) bool {
			kind := k[len(ann.amid)]
			kinds[kind]++
			if inBackup[kind] {
				return true
			}
			canary(fmt.Sprintf("a row %q", kind), v)
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []byte{rowSession, rowPrekeys, rowFlight, rowSealed, rowOpened, rowReceipt, rowKnock} {
		if kinds[kind] == 0 {
			t.Errorf("no row %q was there to be left out: %v", kind, kinds)
		}
	}
	pieces(t, "a session", sessionSecrets(t, ann, bob), canary)
	pieces(t, "a session", sessionSecrets(t, ann, cid), canary)
	for _, set := range ann.prekeys.sets {
		pieces(t, "a prekey", append(append(append([]byte(nil), set.exchange[:]...), set.signed[:]...), set.kem[:]...), canary)
	}
	w.sb.mu.Lock()
	wire := slices.Clone(w.sb.wire)
	w.sb.mu.Unlock()
	for _, env := range wire {
		if ratchet.Type(env[5]) == ratchet.TypeMessage { // a knock names AMIDs, which are no secret
			pieces(t, "an envelope", env, canary)
		}
	}
	canary("the mark", ann.mark.raw[len(ann.mark.raw)-64:])
	if !bytes.Contains(plain.Bytes(), []byte("long long")) || !bytes.Contains(plain.Bytes(), []byte("to ann")) {
		t.Error("mail is not in the backup")
	}
}

// sessionSecrets are the keys of all sessions of a person with a peer.
func sessionSecrets(t *testing.T, p, peer *person) (all []byte) {
	t.Helper()
	err := p.mem.View(func(r store.Reader) error {
		list, err := p.loadSessions(r, peer.AMID())
		for _, s := range list {
			raw, err := s.r.MarshalBinary()
			if err != nil {
				return err
			}
			all = append(all, raw[2:]...)
		}
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("no session of %s and %s: %v", p.name, peer.name, err)
	}
	return all
}

// pieces gives f every 16 bytes that are not nearly zeros.
func pieces(t *testing.T, what string, b []byte, f func(string, []byte)) {
	t.Helper()
	for ; len(b) >= 16; b = b[16:] {
		if bytes.Count(b[:16], []byte{0}) < 6 {
			f(what, b[:16])
		}
	}
}

// A backup that somebody else made brings nothing in that a backup does not hold.
func TestRestoreRefusesOtherRows(t *testing.T) {
	r := NewRestorer(store.NewMemory(), [20]byte{1})
	for _, key := range []string{"", "s", "y", "E", "u", "ue", "un", "u\xff", "\xff", "!store!schema"} {
		if err := r.Row(t.Context(), []byte(key), []byte("{}")); !errors.Is(err, ErrRow) {
			t.Errorf("a row %q: %v", key, err)
		}
	}
	for _, key := range []string{"o1", "q1"} {
		if err := r.Row(t.Context(), []byte(key), []byte("{")); !errors.Is(err, ErrRow) {
			t.Errorf("a torn row %q: %v", key, err)
		}
	}
}

// However many and large, the rows come back as they were.
func TestRestoreOfManyRows(t *testing.T) {
	from, to, amid := store.NewMemory(), store.NewMemory(), [20]byte{1}
	const n = 2000
	for i := range n {
		err := from.Update(t.Context(), func(tx store.Tx) error {
			size := 900
			if i%100 == 0 {
				size = 1 << 20
			}
			return tx.Set(fmt.Appendf(nil, "%sB%04d", amid, i), bytes.Repeat([]byte{byte(i)}, size))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	r := NewRestorer(to, amid)
	err := from.View(func(rd store.Reader) error {
		return Backup(rd, amid, func(k, v []byte) error { return r.Row(t.Context(), k, v) })
	})
	if err != nil {
		t.Fatal(err)
	}
	before := from.Hash()
	if err := r.flush(t.Context()); err != nil || to.Hash() != before {
		t.Fatalf("the rows are others after a restore, %v", err)
	}
	if to.Commits() >= n/100 {
		t.Errorf("%d commits for %d rows", to.Commits(), n)
	}
}

// A backup is whole or there is none: what cannot be read or written ends it.
func TestBackupEndsAtTheFirstError(t *testing.T) {
	mem, amid := store.NewMemory(), identity.AMID{1}
	err := mem.Update(t.Context(), func(tx store.Tx) error {
		return tx.Set(append(amid[:], rowOut, 1), []byte("{"))
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]func(_, _ []byte) error{
		"a torn row":  func(_, _ []byte) error { return nil },
		"a full disk": func(_, _ []byte) error { return store.ErrNoSpace },
	} {
		err := mem.View(func(r store.Reader) error { return Backup(r, amid, row) })
		if err == nil || row(nil, nil) != nil && !errors.Is(err, store.ErrNoSpace) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

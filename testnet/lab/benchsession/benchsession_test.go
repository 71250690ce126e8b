package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"amesh/internal/store"
	"amesh/ratchet"
	"amesh/testnet/lab/bench"
)

func TestEveryCaseRuns(t *testing.T) {
	t.Parallel()
	d, err := openDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	}()
	memory, err := memoryCases()
	if err != nil {
		t.Fatal(err)
	}
	durable, err := durableCases(d, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(memory, durable...) {
		for side, run := range map[string]bench.Run{"floor": c.Floor, "product": c.Product} {
			if took, err := run(1); err != nil || took < 0 {
				t.Errorf("%s: %s: %v, %v", c.Name, side, took, err)
			}
		}
	}
	if sync, err := d.syncTime(); err != nil || sync <= 0 {
		t.Errorf("sync took %v: %v", sync, err)
	}
}

// A floor that did less than the protocol asks would make every ratio worse than it
// is, one that did more would flatter the product.
func TestFloorDoesTheSameWork(t *testing.T) {
	text := make([]byte, bodySize)
	p, err := newPair()
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := p.a.Seal(rand.Reader, text)
	if err != nil {
		t.Fatal(err)
	}
	l := newFloorLine()
	got, err := l.seal(ratchet.PaddedSize(len(text)), text)
	if err != nil || len(got) != len(want) {
		t.Errorf("floor seals to %d bytes, the product to %d: %v", len(got), len(want), err)
	}
	root := l.root
	if err := l.openNext(got); err != nil || l.root == root {
		t.Errorf("floor opens: %v", err)
	}
	got[len(got)-1] ^= 1
	if l.openBody(got) == nil {
		t.Error("floor does not look at the tag")
	}

	mac := hmac.New(sha256.New, l.chain[:])
	mac.Write([]byte{1})
	if sum := hmacByte(&l.chain, 1); !bytes.Equal(sum[:], mac.Sum(nil)) {
		t.Error("hmacByte is not HMAC-SHA-256")
	}
}

// What is counted as durable is: both ends of every line, as they are, and two
// commits for each batch.
func TestKeptIsWhatLives(t *testing.T) {
	const each, count = 3, 4
	memory := store.NewMemory()
	ls := keptIn(t, memory, count)
	if _, err := ls.run(each * count); err != nil {
		t.Fatal(err)
	}
	if got, want := memory.Commits(), 2*each*count; got != want {
		t.Errorf("%d commits, want %d", got, want)
	}
	for _, l := range ls.all {
		for _, sd := range []side{l.sender, l.receiver} {
			kept, err := ls.disk.read(&sd)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(kept, image(t, sd.session)) {
				t.Fatalf("line %v is not on disk as it is", sd.name)
			}
		}
		if l.sender.kept != each || l.receiver.kept != 0 {
			t.Errorf("%d and %d rows, want %d and 0", l.sender.kept, l.receiver.kept, each)
		}
	}
}

func (d *disk) read(sd *side) ([]byte, error) {
	var plain []byte
	err := d.store.View(func(r store.Reader) error {
		row := append([]byte("session/"), sd.name[:]...)
		sealed, err := r.Get(row)
		if err == nil {
			plain, err = d.key.Open(row, sealed)
		}
		return err
	})
	return plain, err
}

// sendersFail is a store that takes what receivers keep and nothing else.
type sendersFail struct{ store.Store }

var errSender = errors.New("a sender's commit")

func (s sendersFail) Update(ctx context.Context, f func(store.Tx) error) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return f(sendersFailTx{tx}) })
}

type sendersFailTx struct{ store.Tx }

func (tx sendersFailTx) Set(key, value []byte) error {
	if bytes.HasPrefix(key, []byte("session/")) && key[len(key)-1] == 's' {
		return errSender
	}
	return tx.Tx.Set(key, value)
}

// When the senders' commits fail the run ends, and nothing had left before them.
func TestNothingLeavesBeforeTheCommit(t *testing.T) {
	const count = 4
	ls := keptIn(t, sendersFail{store.NewMemory()}, count)
	before := make([][]byte, count)
	for i, l := range ls.all {
		before[i] = image(t, l.receiver.session)
	}
	if _, err := ls.run(100 * count); !errors.Is(err, errSender) {
		t.Errorf("got %v, want the senders' error", err)
	}
	for i, l := range ls.all {
		if !bytes.Equal(before[i], image(t, l.receiver.session)) {
			t.Errorf("line %d received what is not on disk", i)
		}
	}
}

// keptIn makes lines that keep each message for itself in s.
func keptIn(t *testing.T, s store.Store, count int) *lines {
	t.Helper()
	key, err := store.LoadStateKey(filepath.Join(t.TempDir(), "state.key"))
	if err != nil {
		t.Fatal(err)
	}
	ls, err := newLines(count, 1)
	if err != nil {
		t.Fatal(err)
	}
	ls.disk = &disk{store: s, key: key}
	return ls
}

func image(t *testing.T, s *ratchet.Session) []byte {
	t.Helper()
	b, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCommandLine(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"too few rounds":   {[]string{"--rounds", "1"}, 2, "-rounds"},
		"no such folder":   {[]string{"--dir", filepath.Join(t.TempDir(), "none")}, 1, "none"},
		"an argument more": {[]string{"now"}, 2, "now"},
	} {
		var out, errs strings.Builder
		if code := run(c.args, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.says) || out.Len() > 0 {
			t.Errorf("%s: exit %d, %q, %q", name, code, &out, &errs)
		}
	}
}

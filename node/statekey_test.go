package node

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"amesh/internal/store"
	"amesh/node/agent"
)

// The state key is changed when it is a day old, and every agent's rows open with the
// new one, also those of an agent whose folder is gone.
func TestStateKeyTurnsDaily(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.key")
	key, err := store.LoadStateKey(file)
	if err != nil {
		t.Fatal(err)
	}
	st := store.NewMemory()
	var rows [][]byte
	for who := range 3 {
		for _, kind := range []byte("sy") {
			k := append(bytes.Repeat([]byte{byte(40 * who)}, 20), kind, 1, 2, 3)
			rows = append(rows, k)
		}
	}
	err = st.Update(t.Context(), func(tx store.Tx) error {
		for _, k := range rows {
			if err := tx.Set(k, key.Seal(k, []byte("secret"))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	m := &mesh{store: st, stateKey: key, node: &Node{cfg: Config{Logger: slog.New(slog.DiscardHandler), Clock: func() time.Time { return now }}}}
	read := func() []byte {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	var files [][]byte
	for range 3 {
		if err := m.changeStateKey(t.Context()); err != nil {
			t.Fatal(err)
		}
		files = append(files, read())
		if err := m.changeStateKey(t.Context()); err != nil || !bytes.Equal(read(), files[len(files)-1]) {
			t.Fatalf("changed twice a day, %v", err)
		}
		again, err := store.LoadStateKey(file)
		if err != nil {
			t.Fatal(err)
		}
		err = st.View(func(r store.Reader) error {
			for _, k := range rows {
				v, err := r.Get(k)
				if err != nil {
					return err
				}
				if plain, err := again.Open(k, v); err != nil || string(plain) != "secret" {
					t.Errorf("row %x: %q, %v", k, plain, err)
				}
			}
			prefixes, err := agent.SealedPrefixes(r)
			if len(prefixes) != 9 {
				t.Errorf("%d prefixes of 3 agents", len(prefixes))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(25 * time.Hour)
	}
	if bytes.Equal(files[0], files[1]) || bytes.Equal(files[1], files[2]) {
		t.Error("the key file stayed what it was")
	}
}

package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/node/api"
)

// copyHome copies a home that no node runs on, with everything beside its state.
func copyHome(t *testing.T, from string) string {
	t.Helper()
	to := homeFolder(t)
	for _, name := range []string{agentsDir, stateDir} {
		if err := os.CopyFS(filepath.Join(to, name), os.DirFS(filepath.Join(from, name))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{nodeKeyFile, stateKey} {
		raw, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := filepath.WalkDir(to, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			err = os.Chmod(path, 0o600)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return to
}

func (r *running) status() api.Status {
	r.t.Helper()
	s, err := r.api.Status(r.t.Context(), "")
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// T31, CP 28: a whole home is put back, the mark beside the state as well, as a snapshot
// of a machine is. The relay knows better: the node begins a new epoch at first
// contact, no session of before seals again, mail flows, and the owner is told.
func TestRelayNoticesACopyOfTheHome(t *testing.T) {
	for name, after := range map[string]int{"after one start of the original": 1, "after none but its own": 0} {
		t.Run(name, func(t *testing.T) {
			_, a, b := pair(t, AnnounceNone)
			a.send(b, "one", api.SendRequest{Via: string(api.PathRelayed)})
			a.end()
			old := copyHome(t, a.cfg.Home)
			want := []string{"one"}
			for range after {
				a.start()
				a.send(b, "two", api.SendRequest{Via: string(api.PathRelayed)})
				want = append(want, "two")
				a.end()
			}
			if after == 0 { // another copy of the same snapshot ran, and was at the relay
				other := startNode(t, withHome(a.cfg, copyHome(t, old)))
				other.send(b, "two", api.SendRequest{Via: string(api.PathRelayed)})
				want = append(want, "two")
				other.end()
			}
			back := startNode(t, withHome(a.cfg, old))
			until(t, back, func(s api.Status) bool { return s.Agents[0].Epoch == 2 && s.Agents[0].RolledBack != nil })
			m := back.send(b, "three", api.SendRequest{Via: string(api.PathRelayed)})
			if m.State != api.StateDelivered {
				t.Fatalf("%s (%s)", m.State, m.Reason)
			}
			if diff := cmp.Diff(append(want, "three"), b.bodies()); diff != "" {
				t.Errorf("inbox (-want +got)\n%s", diff)
			}
			if d := strings.Join(back.status().Degraded, "; "); !strings.Contains(d, "was put back") {
				t.Errorf("the owner is told %q", d)
			}
		})
	}
}

// A node that starts again, and again, and whose relay does, is no copy.
func TestRestartsAreNoRollback(t *testing.T) {
	s, a, b := pair(t, AnnounceNone)
	for _, text := range []string{"one", "two", "three"} {
		a.send(b, text, api.SendRequest{Via: string(api.PathRelayed)})
		s.end()
		s.start()
		a.send(b, text+" and a half", api.SendRequest{Via: string(api.PathRelayed)})
		a.end()
		a.start()
	}
	for _, r := range []*running{a, b} {
		got := r.status().Agents[0]
		if got.Epoch != 1 || got.RolledBack != nil || got.OneTime.X25519 == 0 || got.OneTime.KEM == 0 {
			t.Errorf("%+v", got)
		}
	}
}

func withHome(cfg Config, home string) Config {
	cfg.Home, cfg.Listen, cfg.API = home, slices.Clone(cfg.Listen), "127.0.0.1:0"
	return cfg
}

// until waits for a status.
func until(t *testing.T, r *running, ok func(api.Status) bool) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for {
		s, err := r.api.Status(t.Context(), "")
		if err == nil && ok(s) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("status %+v, %v", s, err)
		}
	}
}

package scenario

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"amesh/node/api"
	"amesh/testnet/plan"
)

// smoke runs everything on a mesh, in a bubble whose time costs nothing.
func smoke(t *testing.T, nodes int, change func(*mesh), check func(Run)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, nodes)
		if change != nil {
			change(m)
		}
		run, err := Smoke(t.Context(), Config{Stage: m, Limits: DefaultLimits()})
		if err != nil {
			t.Fatal(err)
		}
		check(run)
	})
}

func result(t *testing.T, run Run, name string) Result {
	t.Helper()
	for _, r := range run.Results {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("no scenario %s in %+v", name, run.Results)
	return Result{}
}

func TestMeshThatLosesNothingPasses(t *testing.T) {
	smoke(t, 4, nil, func(run Run) {
		for _, r := range run.Results {
			if r.Outcome != Passed {
				t.Errorf("%s %s: %s", r.Name, r.Outcome, r.Why)
			}
		}
		l := DefaultLimits()
		asked := 2 * l.Questions * 4 * 3 // with the answers
		want := Counts{Sent: 2 + 2*asked + l.Away + l.Relayed + 2*l.Cut, Dead: 1, Refused: 1}
		want.Handled = want.Sent - 1
		if diff := cmp.Diff(want, run.Total); diff != "" {
			t.Error(diff)
		}
		if !run.Passed || len(run.Picture.Nodes) != 4 || len(run.Picture.Paths) != 12 || run.Picture.Paths[0].Kind != api.PathPunched {
			t.Errorf("the run: %+v", run)
		}
	})
}

// Two nodes are enough: then there is no stranger.
func TestTwoNodes(t *testing.T) {
	smoke(t, 2, nil, func(run Run) {
		if !run.Passed || run.Total.Refused != 0 {
			t.Errorf("%+v", run.Results)
		}
	})
}

func TestScenarioThatIsNotPossibleIsSkipped(t *testing.T) {
	smoke(t, 3, func(m *mesh) { m.cannotCut = true }, func(run Run) {
		if r := result(t, run, "partition"); r.Outcome != Skipped || !strings.Contains(r.Why, "not possible") {
			t.Errorf("%+v", r)
		}
		if !run.Passed {
			t.Error("a skipped scenario failed the run")
		}
	})
}

func nth(n int, do func(*mail)) func(*mail) {
	return func(one *mail) {
		if n--; n == 0 {
			do(one)
		}
	}
}

func TestMessageHandedOutTwiceFails(t *testing.T) {
	smoke(t, 3, func(m *mesh) { m.misbehave = nth(9, func(one *mail) { one.again = true }) }, func(run Run) {
		if run.Passed || run.Total.Twice != 1 {
			t.Errorf("passed %v, %+v", run.Passed, run.Total)
		}
	})
}

// The sender says handled, but the receiver does not have it.
func TestMessageThatVanishedFails(t *testing.T) {
	smoke(t, 3, func(m *mesh) { m.misbehave = nth(40, func(one *mail) { one.vanished = true }) }, func(run Run) {
		if r := result(t, run, "audit"); run.Passed || !strings.Contains(r.Why, "is handled, its receiver that it is") {
			t.Errorf("%+v", r)
		}
	})
}

func TestMessageThatStaysQueuedFails(t *testing.T) {
	smoke(t, 3, func(m *mesh) {
		m.misbehave = nth(5, func(one *mail) { one.in.State, one.out.State = api.InboxFailed, api.StateRelayed })
	}, func(run Run) {
		r := result(t, run, "ask")
		if run.Passed || r.Outcome != Failed || r.Counts.Queued != 1 || !strings.Contains(r.Why, "takes longer than") {
			t.Errorf("%+v", r)
		}
	})
}

// A stranger that is let in is a failure, not a success.
func TestStrangerThatIsLetInFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 3)
		open := &openHouse{m}
		run, err := Smoke(t.Context(), Config{Stage: open, Limits: DefaultLimits()})
		if err != nil {
			t.Fatal(err)
		}
		if r := result(t, run, "knock"); run.Passed || !strings.Contains(r.Why, "want refused") {
			t.Errorf("%+v", r)
		}
	})
}

// openHouse is a mesh whose policies are ignored.
type openHouse struct{ *mesh }

type openNode struct{ *node }

func (openNode) SetPolicy(context.Context, string, api.PolicyChange) (api.Policy, error) {
	return api.Policy{}, nil
}

func (o *openHouse) Node(name string) (api.Backend, error) { return openNode{o.nodes[name]}, nil }

// Whoever interrupts a run does not want a node to stay cut off.
func TestInterruptedRunHealsWhatItBroke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 3)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		m.onCut = cancel
		if _, err := Smoke(ctx, Config{Stage: m, Limits: DefaultLimits()}); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		for name, n := range m.nodes {
			if n.cut || n.off {
				t.Errorf("%s: cut off %v, off %v", name, n.cut, n.off)
			}
		}
	})
}

func TestPathsThatNeedATry(t *testing.T) {
	smoke(t, 3, func(m *mesh) { m.trying = 1 }, func(run Run) {
		if r := result(t, run, "paths"); r.Outcome != Passed || r.Notes[0] != "of 6 ways 6 are direct or punched, 0 relayed; tries: 1" {
			t.Errorf("%+v", r)
		}
	})
	smoke(t, 3, func(m *mesh) { m.trying = 1 << 20 }, func(run Run) {
		if r := result(t, run, "paths"); run.Passed || !strings.Contains(r.Why, "n1 to n2 is relayed (nobody answers)") {
			t.Errorf("%+v", r)
		}
	})
}

// Behind two symmetric boxes there is no direct path, and none is asked for.
func TestPathsThatCannotBe(t *testing.T) {
	smoke(t, 2, func(m *mesh) {
		m.trying = 1 << 20
		for i := range m.plan.Nodes {
			m.plan.Nodes[i].Kind = plan.Symmetric
		}
	}, func(run Run) {
		if r := result(t, run, "paths"); r.Outcome != Passed || r.Notes[0] != "of 2 ways 0 are direct or punched, 2 relayed; tries: 0" {
			t.Errorf("%+v", r)
		}
	})
}

// What lies about from before is neither counted nor in the way.
func TestSecondRunCountsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 3)
		var totals []Counts
		for range 2 {
			run, err := Smoke(t.Context(), Config{Stage: m, Limits: DefaultLimits()})
			if err != nil || !run.Passed {
				t.Fatalf("%v, %+v", err, run.Results)
			}
			totals = append(totals, run.Total)
		}
		if diff := cmp.Diff(totals[0], totals[1]); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNodeThatIsNotThePlans(t *testing.T) {
	m := newMesh(t, 2)
	m.plan.Nodes[1].AMID = m.plan.Nodes[0].AMID
	if _, err := Smoke(t.Context(), Config{Stage: m, Limits: DefaultLimits()}); err == nil || !strings.Contains(err.Error(), "its plan says") {
		t.Errorf("error is %v", err)
	}
}

func TestPictureShowsWhoIsDown(t *testing.T) {
	m := newMesh(t, 3)
	m.nodes["n2"].off = true
	p := Look(t.Context(), m)
	if !p.Nodes[1].Down || p.Nodes[0].Down || p.Nodes[0].Relays[0] != "r1" || p.Nodes[0].Kind != plan.Open {
		t.Errorf("%+v", p.Nodes)
	}
	for _, path := range p.Paths {
		if path.Down != (path.From == "n2") || path.Kind != api.PathNone {
			t.Errorf("%+v", path)
		}
	}
}

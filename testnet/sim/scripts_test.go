package sim

import (
	"bytes"
	"testing"
	"time"

	"amesh/node/api"
)

// A script is what people do with their nodes. It says what has to come of it; that
// must be the same whatever dies on the way.
type script struct {
	name string
	run  func(t *testing.T, w *World)
}

// scripts are played without a crash, with one at every point, and with two.
var scripts = []script{
	{"first knock, the owner says yes", ownerSaysYes},
	{"the owner says no", ownerSaysNo},
	{"a long message", longMessage},
	{"both knock at once", bothKnock},
	{"the path changes", pathChanges},
	{"prekeys change under a knock", prekeysChange},
	{"cancel, expire and skip", endsOnTheWay},
	{"the relay forgets", relayForgets},
	{"offers and echoes", offersAndEchoes},
}

// want says what a person's messages have come to.
func want(t *testing.T, p *Person, states map[string]api.State) {
	t.Helper()
	for name, want := range states {
		if got, reason := p.State(name); got != want {
			t.Errorf("%s's %q is %s (%s), want %s", p.Name, name, got, reason, want)
		}
	}
}

// wantShown says what a person was shown of a peer, in this order.
func wantShown(t *testing.T, p, peer *Person, names ...string) {
	t.Helper()
	got := p.Shown(peer)
	if len(got) != len(names) {
		t.Errorf("%s was shown %q of %s, want %q", p.Name, got, peer.Name, names)
		return
	}
	for i := range names {
		if got[i] != names[i] {
			t.Errorf("%s was shown %q of %s, want %q", p.Name, got, peer.Name, names)
			return
		}
	}
}

func ownerSaysYes(t *testing.T, w *World) {
	ann, bob := w.Join("ann", "ask"), w.Join("bob", "ask")
	w.Say(ann, bob, "one", 0)
	w.Say(ann, bob, "two", 0)
	w.Decide(bob, true)
	w.Work(bob, 2)
	w.Say(bob, ann, "answer", 0)
	w.Say(ann, bob, "three", 0)
	w.Work(ann, 1)
	w.Work(bob, 3)
	w.Finish()
	want(t, ann, map[string]api.State{"one": api.StateHandled, "two": api.StateHandled, "three": api.StateHandled})
	want(t, bob, map[string]api.State{"answer": api.StateHandled})
	wantShown(t, bob, ann, "one", "two", "three")
	wantShown(t, ann, bob, "answer")
}

func ownerSaysNo(t *testing.T, w *World) {
	ann, bob := w.Join("ann", "ask"), w.Join("bob", "ask")
	w.Say(ann, bob, "please", 0)
	w.Say(ann, bob, "please, please", 0)
	w.Decide(bob, false)
	w.Finish()
	want(t, ann, map[string]api.State{"please": api.StateRefused, "please, please": api.StateRefused})
	wantShown(t, bob, ann)
}

func longMessage(t *testing.T, w *World) {
	ann, bob := w.Join("ann", "ask"), w.Join("bob", "accept")
	w.Say(ann, bob, "before", 0)
	w.Send(ann, bob, "long", api.SendRequest{Body: bytes.Repeat([]byte("long "), 25_000)})
	w.Say(ann, bob, "after", 0)
	w.Work(bob, 3)
	w.Finish()
	want(t, ann, map[string]api.State{"before": api.StateHandled, "long": api.StateHandled, "after": api.StateHandled})
	wantShown(t, bob, ann, "before", "long", "after")
}

// T28: both start at once; nothing is lost and nobody has to ask twice.
func bothKnock(t *testing.T, w *World) {
	ann, bob := bothStart(w)
	for _, p := range []*Person{ann, bob} {
		want(t, p, map[string]api.State{"1": api.StateHandled, "2": api.StateHandled})
	}
	wantShown(t, ann, bob, "1", "2")
	wantShown(t, bob, ann, "1", "2")
}

func bothStart(w *World) (ann, bob *Person) {
	ann, bob = w.Join("ann", "accept"), w.Join("bob", "accept")
	w.Cut(ann, true)
	w.Cut(bob, true)
	for _, text := range []string{"1", "2"} {
		w.Say(ann, bob, text, 0)
		w.Say(bob, ann, text, 0)
	}
	w.Cut(ann, false)
	w.Cut(bob, false)
	w.Work(ann, 2)
	w.Work(bob, 2)
	w.Finish()
	return ann, bob
}

// CP 36: the path changes from the relay to a direct one and back with messages under
// way.
func pathChanges(t *testing.T, w *World) {
	ann, bob := w.Join("ann", "ask"), w.Join("bob", "accept")
	w.Say(ann, bob, "by relay", 0)
	w.Work(bob, 1)
	bob.Stop()
	w.Say(ann, bob, "waits at the relay", 0)
	w.Reaches(ann, "waits at the relay", api.StateRelayed, time.Hour)
	w.Direct(ann, bob, true)
	bob.Start()
	w.Say(ann, bob, "direct", 0)
	w.Work(bob, 2)
	w.Say(ann, bob, "breaks off", 0)
	w.Direct(ann, bob, false)
	w.Say(ann, bob, "by relay again", 0)
	w.Work(bob, 5)
	w.Finish()
	for _, name := range []string{"by relay", "waits at the relay", "direct", "breaks off", "by relay again"} {
		want(t, ann, map[string]api.State{name: api.StateHandled})
	}
	wantShown(t, bob, ann, "by relay", "waits at the relay", "direct", "breaks off", "by relay again")
}

// CP 8: a knock that names the keys of yesterday is opened, whenever the node dies
// while it makes new ones; a later stranger finds the new ones.
func prekeysChange(t *testing.T, w *World) {
	w.Limits.BundleRenew = 12 * time.Hour // fewer records on the way there, fewer points
	ann, bob, cid := w.Join("ann", "ask"), w.Join("bob", "accept"), w.Join("cid", "ask")
	w.Pass(w.Limits.BundleRenew - time.Hour)
	w.Cut(bob, true)
	w.Say(ann, bob, "with the old keys", 0)
	w.Pass(4 * time.Hour)
	w.Cut(bob, false)
	w.Pass(publishEvery)
	w.Say(cid, bob, "with the new keys", 0)
	w.Work(bob, 2)
	w.Finish()
	want(t, ann, map[string]api.State{"with the old keys": api.StateHandled})
	want(t, cid, map[string]api.State{"with the new keys": api.StateHandled})
}

// CP 16: the relay loses its disk with a message in it, and again with the receipt of the
// next one in it. Both come again: one from the sender, one because the sender asks by
// sending its message again.
func relayForgets(t *testing.T, w *World) {
	ann, bob := w.Join("ann", "ask"), w.Join("bob", "accept")
	w.Say(ann, bob, "1", 0)
	w.Work(bob, 1)
	w.Pass(time.Minute)
	bob.Stop()
	w.Say(ann, bob, "lost", 0)
	w.Reaches(ann, "lost", api.StateRelayed, time.Hour)
	w.Forget()
	bob.Start()
	w.Reaches(ann, "lost", api.StateDelivered, 3*time.Hour)
	w.Say(ann, bob, "receipt lost", 0)
	w.Until("bob has it", time.Hour, func() bool { return len(bob.rows.in) == 3 })
	w.Cut(ann, true)
	w.Pass(5 * time.Minute)
	w.Forget()
	w.Cut(ann, false)
	w.Reaches(ann, "receipt lost", api.StateDelivered, 3*time.Hour)
	w.Work(bob, 3)
	w.Finish()
	want(t, ann, map[string]api.State{"lost": api.StateHandled, "receipt lost": api.StateHandled})
	wantShown(t, bob, ann, "1", "lost", "receipt lost")
}

func endsOnTheWay(t *testing.T, w *World) {
	w.Limits.ResendFirst = 5 * time.Minute // fewer tries while the line is cut, fewer points
	ann, bob := w.Join("ann", "ask"), w.Join("bob", "accept")
	w.Say(ann, bob, "1", 0)
	w.Work(bob, 1)
	w.Pass(time.Minute)
	w.Cut(ann, true)
	w.Say(ann, bob, "2", 0)
	w.Say(ann, bob, "cancelled", 0)
	w.Say(ann, bob, "expired", time.Minute)
	w.Say(ann, bob, "5", 0)
	w.Cancel(ann, "cancelled")
	w.Pass(12 * time.Minute)
	w.Cut(ann, false)
	w.Work(bob, 3)
	w.Finish()
	want(t, ann, map[string]api.State{"1": api.StateHandled, "2": api.StateHandled, "cancelled": api.StateCancelled, "5": api.StateHandled})
	if state, _ := ann.State("expired"); state != api.StateExpired && state != api.StateDead {
		t.Errorf("the one whose time is over is %s", state)
	}
	for _, e := range w.History() {
		if e.Gap > 0 && w.Crashes() == 0 {
			t.Errorf("bob was told of a gap, although ann knew that nothing was to come:\n%s", e)
		}
	}
	wantShown(t, bob, ann, "1", "2", "5")
}

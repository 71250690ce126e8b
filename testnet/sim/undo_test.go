package sim

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"amesh/node/api"
)

// What people do whose nodes lose their state or get an older one (session.md §8.6,
// §8.7, §9.4), who use keys once, and who write before they are answered.
var undoScripts = []script{
	{"the sessions are gone", sessionsLost},
	{"a backup is restored, the peer writes on", restoredReceiver},
	{"a backup is restored with mail under way", restoredSender},
	{"both restore a backup", bothRestored},
	{"the state folder is deleted", stateLost},
	{"the state folder is deleted, the peer writes on", stateLostWritten},
	{"the mark is deleted", markLost},
	{"the state key is deleted", keyLost},
	{"both state keys are deleted", bothKeysLost},
	{"the state key is deleted under a knock that waits", keyLostUnderKnock},
	{"the sender's state is put back", senderPutBack},
	{"the receiver's state is put back", receiverPutBack},
	{"the first message behind a knock", tailOfKnock},
	{"keys are used once", usedOnce},
	{"a knock on keys that are gone", renewedAfterLoss},
	{"a knock on keys that are replaced", renewedAfterPutBack},
}

// saw is for what happens where nobody dies and everything goes its way.
func saw(t *testing.T, w *World, what string, is func(Event) bool) {
	t.Helper()
	if w.Crashes() == 0 && !slices.ContainsFunc(w.History(), is) {
		t.Errorf("this run was to have %s", what)
	}
}

// inTurn is for what is never late where nobody dies.
func inTurn(t *testing.T, w *World) {
	t.Helper()
	for _, e := range w.History() {
		if w.Crashes() == 0 && e.Kind == InRow && (e.Late || e.Gap > 0) {
			t.Errorf("it was to come in its turn: %s", e)
		}
	}
}

func withTail(e Event) bool { return e.Kind == Carried && e.Tail != "" }

func aRenew(e Event) bool {
	return e.Kind == Carried && len(e.Marks) > 0 && strings.HasPrefix(e.Marks[0].Use, "renew ")
}

// talked is two people who have written to each other.
func talked(w *World) (ann, bob *Person) {
	ann, bob = w.Join("ann", "ask"), w.Join("bob", "accept")
	w.Say(ann, bob, "first", 0)
	w.Work(bob, 1)
	w.Say(bob, ann, "answer", 0)
	w.Work(ann, 1)
	w.Reaches(bob, "answer", api.StateHandled, time.Hour)
	w.Reaches(ann, "first", api.StateHandled, time.Hour)
	w.Pass(time.Minute)
	return ann, bob
}

// T29, session.md §8.6: a node that cannot open what a friend sends asks for a new
// session, in which all comes again that it may not have.
func sessionsLost(t *testing.T, w *World) {
	ann, bob := talked(w)
	w.LoseSessions(bob)
	w.Say(ann, bob, "1", 0)
	w.Say(ann, bob, "2", 0)
	w.Work(bob, 3)
	w.Say(bob, ann, "back", 0)
	w.Work(ann, 2)
	w.Finish()
	want(t, ann, map[string]api.State{"1": api.StateHandled, "2": api.StateHandled})
	want(t, bob, map[string]api.State{"back": api.StateHandled})
	wantShown(t, bob, ann, "first", "1", "2")
	inTurn(t, w)
}

// CP 29, T29: what came after the backup comes again, and what the peer sends on
// sessions that are gone comes after a resume. No session and no key is in a backup.
func restoredReceiver(t *testing.T, w *World) {
	ann, bob := talked(w)
	b := bob.Backup()
	for _, row := range b.rows {
		if bytes.IndexByte([]byte{kindSession, 'y', kindOneTime, 'a', kindFlight, kindSealed}, row[0][0]) >= 0 {
			t.Errorf("a row %q is in the backup", row[0][0])
		}
	}
	w.Say(ann, bob, "after the backup", 0)
	w.Reaches(ann, "after the backup", api.StateDelivered, time.Hour)
	w.Restore(bob, b)
	w.Say(ann, bob, "on the old session", 0)
	w.Work(bob, 3)
	w.Finish()
	want(t, ann, map[string]api.State{"after the backup": api.StateHandled, "on the old session": api.StateHandled})
	wantShown(t, bob, ann, "first", "after the backup", "on the old session")
}

// CP 28: what was unfinished in the backup is sealed again, under its ids.
func restoredSender(t *testing.T, w *World) {
	ann, bob := talked(w)
	w.Cut(bob, true)
	w.Say(ann, bob, "1", 0)
	w.Say(ann, bob, "2", 0)
	w.Reaches(ann, "2", api.StateRelayed, time.Hour)
	b := ann.Backup()
	w.Say(ann, bob, "forgotten", 0)
	w.Reaches(ann, "forgotten", api.StateRelayed, time.Hour)
	w.Restore(ann, b)
	w.Forget()
	w.Cut(bob, false)
	w.Say(ann, bob, "3", 0)
	w.Work(bob, 4)
	w.Finish()
	want(t, ann, map[string]api.State{"1": api.StateHandled, "2": api.StateHandled, "3": api.StateHandled})
	wantShown(t, bob, ann, "first", "1", "2", "3")
}

// CP 28, CP 29: neither has a session, and the relay has nothing.
func bothRestored(t *testing.T, w *World) {
	ann, bob := talked(w)
	w.Cut(bob, true)
	w.Say(ann, bob, "from ann", 0)
	w.Say(bob, ann, "from bob", 0)
	w.Reaches(ann, "from ann", api.StateRelayed, time.Hour)
	a, b := ann.Backup(), bob.Backup()
	w.Pass(time.Minute)
	w.Restore(ann, a)
	w.Restore(bob, b)
	w.Forget()
	w.Cut(bob, false)
	w.Work(ann, 2)
	w.Work(bob, 2)
	w.Finish()
	want(t, ann, map[string]api.State{"from ann": api.StateHandled})
	want(t, bob, map[string]api.State{"from bob": api.StateHandled})
	wantShown(t, bob, ann, "first", "from ann")
	wantShown(t, ann, bob, "answer", "from bob")
}

// CP 31: all but the identity and the mark is gone. When the node writes to a peer, all
// comes again from it that is not ended.
func stateLost(t *testing.T, w *World) {
	ann, bob := talked(w)
	w.Say(ann, bob, "delivered", 0)
	w.Reaches(ann, "delivered", api.StateDelivered, time.Hour)
	w.Lose(bob)
	w.Say(bob, ann, "who are you", 0)
	w.Work(bob, 1)
	w.Work(ann, 2)
	w.Finish()
	want(t, ann, map[string]api.State{"first": api.StateHandled, "delivered": api.StateHandled})
	want(t, bob, map[string]api.State{"who are you": api.StateHandled})
	wantShown(t, bob, ann, "delivered")
	wantShown(t, ann, bob, "answer", "who are you")
	inTurn(t, w)
}

// The same with mail that nobody can open until then.
func stateLostWritten(t *testing.T, w *World) {
	ann, bob := talked(w)
	w.Lose(bob)
	w.Say(ann, bob, "on the old session", 0)
	w.Pass(time.Minute)
	w.Say(bob, ann, "who are you", 0)
	w.Work(bob, 1)
	w.Work(ann, 2)
	w.Finish()
	want(t, ann, map[string]api.State{"on the old session": api.StateHandled})
	want(t, bob, map[string]api.State{"who are you": api.StateHandled})
	wantShown(t, bob, ann, "on the old session")
	wantShown(t, ann, bob, "answer", "who are you")
}

// CP 31, T29: only the sessions and the prekeys are gone. The node asks for new
// sessions as soon as it is written to.
func keyLost(t *testing.T, w *World) {
	ann, bob := talked(w)
	w.Cut(bob, true)
	w.Say(bob, ann, "under way", 0)
	w.LoseKey(bob)
	w.Cut(bob, false)
	w.Say(ann, bob, "on the old session", 0)
	w.Work(bob, 2)
	w.Work(ann, 2)
	w.Finish()
	want(t, ann, map[string]api.State{"on the old session": api.StateHandled})
	want(t, bob, map[string]api.State{"under way": api.StateHandled})
	wantShown(t, bob, ann, "first", "on the old session")
	wantShown(t, ann, bob, "answer", "under way")
}

// The keys of both go with a message under way. It is sealed again in a new session
// (session.md §8.7).
func bothKeysLost(t *testing.T, w *World) {
	ann, bob := talked(w)
	w.Cut(bob, true)
	w.Say(ann, bob, "under way", 0)
	w.Reaches(ann, "under way", api.StateRelayed, time.Hour)
	w.LoseKey(ann)
	w.LoseKey(bob)
	w.Cut(bob, false)
	w.Say(ann, bob, "after", 0)
	w.Work(bob, 3)
	w.Finish()
	want(t, ann, map[string]api.State{"under way": api.StateHandled, "after": api.StateHandled})
}

// A knock whose keys are gone does not wait for its owner any more.
func keyLostUnderKnock(t *testing.T, w *World) {
	ann, bob := w.Join("ann", "ask"), w.Join("bob", "ask")
	w.Say(ann, bob, "please", 0)
	w.Until("the knock waits", time.Hour, func() bool { return bob.waiting() != nil })
	w.LoseKey(bob)
	w.Until("the knock is over", time.Hour, func() bool { return bob.waiting() == nil })
	w.Finish()
}

// session.md §8.7: without a mark nobody knows how old the state is.
func markLost(t *testing.T, w *World) {
	ann, bob := talked(w)
	w.Cut(bob, true)
	w.Say(bob, ann, "under way", 0)
	w.LoseMark(bob)
	w.Cut(bob, false)
	w.Say(ann, bob, "on the old session", 0)
	w.Work(bob, 2)
	w.Work(ann, 2)
	w.Finish()
	want(t, ann, map[string]api.State{"on the old session": api.StateHandled})
	want(t, bob, map[string]api.State{"under way": api.StateHandled})
	wantShown(t, bob, ann, "first", "on the old session")
	wantShown(t, ann, bob, "answer", "under way")
}

// CP 28, T31: the sender does not know any more that "under way" has arrived, nor that
// there ever was "forgotten". The receiver knows.
func senderPutBack(t *testing.T, w *World) {
	ann, bob := talked(w)
	w.Cut(bob, true)
	w.Say(ann, bob, "under way", 0)
	w.Reaches(ann, "under way", api.StateRelayed, time.Hour)
	c := ann.Copy()
	ann.Stop()
	ann.Start()
	w.Cut(bob, false)
	w.Say(ann, bob, "forgotten", 0)
	w.Work(bob, 3)
	w.Reaches(ann, "forgotten", api.StateHandled, time.Hour)
	w.PutBack(ann, c)
	w.Say(ann, bob, "after", 0)
	w.Work(bob, 4)
	w.Finish()
	want(t, ann, map[string]api.State{"under way": api.StateHandled, "after": api.StateHandled, "forgotten": ""})
	wantShown(t, bob, ann, "first", "under way", "forgotten", "after")
	inTurn(t, w)
}

// CP 29, T31: the receiver does not know any more what came after the copy.
func receiverPutBack(t *testing.T, w *World) {
	ann, bob := talked(w)
	c := bob.Copy()
	bob.Stop()
	bob.Start()
	w.Say(ann, bob, "handled", 0)
	w.Work(bob, 2)
	w.Reaches(ann, "handled", api.StateHandled, time.Hour)
	w.Say(ann, bob, "delivered", 0)
	w.Reaches(ann, "delivered", api.StateDelivered, time.Hour)
	w.PutBack(bob, c)
	w.Say(ann, bob, "after", 0)
	w.Say(bob, ann, "back", 0)
	w.Work(ann, 2)
	w.Work(bob, 3)
	w.Finish()
	want(t, ann, map[string]api.State{"handled": api.StateHandled, "delivered": api.StateHandled, "after": api.StateHandled})
	want(t, bob, map[string]api.State{"back": api.StateHandled})
}

// session.md §5.2, §8.1: who holds a grant does not wait for the answer. The message is
// taken with the knock or, where that is answered from memory, alone.
func tailOfKnock(t *testing.T, w *World) {
	ann, bob := talked(w)
	w.Kill(ann, bob)
	w.Say(ann, bob, "behind the knock", 0)
	w.Say(ann, bob, "after it", 0)
	w.Work(bob, 3)
	w.Kill(bob, ann)
	w.Say(bob, ann, "behind another", 0)
	w.Work(ann, 2)
	w.Finish()
	saw(t, w, "a message behind a knock", withTail)
	want(t, ann, map[string]api.State{"behind the knock": api.StateHandled, "after it": api.StateHandled})
	want(t, bob, map[string]api.State{"behind another": api.StateHandled})
	wantShown(t, bob, ann, "first", "behind the knock", "after it")
	wantShown(t, ann, bob, "answer", "behind another")
}

// CP 23, T20: the private parts of keys that are used once go with the message 0 that
// names them, whenever the node dies.
func usedOnce(t *testing.T, w *World) {
	ann, bob, cid := w.Join("ann", "ask"), w.Join("bob", "ask"), w.Join("cid", "ask")
	w.Direct(ann, bob, true)
	w.Direct(cid, bob, true)
	w.Say(ann, bob, "1", 0)
	w.Say(cid, bob, "1", 0)
	w.Decide(bob, true)
	w.Decide(bob, true)
	w.Work(bob, 2)
	w.Kill(ann, bob)
	w.Say(ann, bob, "2", 0)
	w.Work(bob, 3)
	w.Finish()
	saw(t, w, "a knock with two keys", func(e Event) bool { return e.Kind == Knock && len(e.OneTime) == 2 })
	want(t, ann, map[string]api.State{"1": api.StateHandled, "2": api.StateHandled})
	want(t, cid, map[string]api.State{"1": api.StateHandled})
	wantShown(t, bob, ann, "1", "2")
}

// session.md §8.5: the knock waits at the relay, and the keys that it names are gone when
// it is read. What was behind it waits for the next one.
func renewedAfterLoss(t *testing.T, w *World) {
	ann, bob := talked(w)
	knockWaits(w, ann, bob)
	w.Lose(bob)
	bob.Start()
	w.Work(bob, 1)
	w.Finish()
	saw(t, w, "a renew", aRenew)
	want(t, ann, map[string]api.State{"on old keys": api.StateHandled})
	wantShown(t, bob, ann, "on old keys")
}

// session.md §8.5, §8.7: an older state has the keys that the knock names, and they are
// not used any more.
func renewedAfterPutBack(t *testing.T, w *World) {
	ann, bob := talked(w)
	c := bob.Copy()
	bob.Stop()
	bob.Start()
	knockWaits(w, ann, bob)
	w.PutBack(bob, c)
	bob.Start()
	w.Work(bob, 2)
	w.Finish()
	saw(t, w, "a renew", aRenew)
	want(t, ann, map[string]api.State{"on old keys": api.StateHandled})
	wantShown(t, bob, ann, "first", "on old keys")
}

// knockWaits has ann's knock, with a message behind it, wait at the relay for bob.
func knockWaits(w *World, ann, bob *Person) {
	w.Kill(ann, bob)
	w.Pass(time.Minute)
	bob.Stop()
	w.Say(ann, bob, "on old keys", 0)
	w.Until("the knock is at the relay", time.Hour, func() bool {
		return slices.ContainsFunc(w.history, func(e Event) bool { return e.Kind == Promised && e.Tail != "" })
	})
}

package path

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	start = time.Unix(1_800_000_000, 0)
	all   = Means{Dial: true, Punch: true, Circuit: true}
)

// life is a machine and its time.
type life struct {
	*Machine
	t   *testing.T
	now time.Time
	did []string
}

func begin(t *testing.T, m Means) *life {
	l := &life{Machine: New(DefaultLimits()), t: t, now: start}
	l.Means = m
	return l
}

// on tells what happened, and remembers what is to be done.
func (l *life) on(list ...Kind) *life {
	for _, k := range list {
		if a := l.Handle(Event{Kind: k, Run: l.Run()}, l.now); a != None {
			l.did = append(l.did, a.String())
		}
	}
	return l
}

func (l *life) fails(c Code) *life {
	if a := l.Handle(Event{Kind: Failed, Run: l.Run(), Result: Result{Code: c}}, l.now); a != None {
		l.did = append(l.did, a.String())
	}
	return l
}

func (l *life) wait(d time.Duration) *life {
	l.now = l.now.Add(d)
	return l
}

// tick waits until the machine wants to be woken, and returns how long that was; less
// than nothing when it never wants to.
func (l *life) tick() time.Duration {
	next := l.Next(l.now)
	if next.IsZero() {
		return -1
	}
	d := next.Sub(l.now)
	l.wait(d).on(Tick)
	return d
}

func (l *life) want(s State, did string) *life {
	l.t.Helper()
	if got := strings.Join(l.did, " "); l.State() != s || got != did {
		l.t.Fatalf("%v after %q, want %v after %q", l.State(), got, s, did)
	}
	l.did = nil
	return l
}

// in brings a machine into a state.
func in(t *testing.T, s State) *life {
	l := begin(t, all)
	flap := func() {
		l.Means = Means{}
		for range 2 {
			l.on(Up, Down)
		}
		l.on(Up)
		l.Means = all
	}
	switch s {
	case Dialling:
		l.on(Need)
	case Punching:
		l.Means.Dial = false
		l.on(Want)
		l.Means = all
	case Circling:
		l.Means = Means{Circuit: true}
		l.on(Want)
		l.Means = all
	case Open:
		l.on(Up)
	case Holding:
		flap()
	case Proving:
		flap()
		l.wait(l.limits.Hold).on(Tick)
	}
	if l.State() != s {
		t.Fatalf("%v, want %v", l.State(), s)
	}
	l.used = l.now // somebody is interested
	l.did = nil
	return l
}

// outcome is what an event does in a state: the next state and the action. The rung of
// the state itself is resting after a failure, the others are free.
var outcomes = map[Kind][states]string{
	//         Idle               Dialling           Punching           Circling           Holding            Proving            Open
	Need:    {"dialling dial", "dialling", "punching", "circling", "holding", "proving", "open"},
	Want:    {"dialling dial", "dialling", "punching", "circling", "holding", "proving", "open"},
	Ask:     {"dialling dial", "dialling", "punching", "circling", "holding", "proving", "open"},
	Told:    {"dialling dial", "dialling", "punching dial", "circling dial", "holding", "proving", "open"},
	Moved:   {"dialling dial", "dialling dial", "dialling dial", "dialling dial", "proving echo", "proving echo", "open echo"},
	Tick:    {"dialling dial", "dialling", "punching dial", "circling dial", "proving echo", "proving", "open"},
	Offered: {"punching dial+answer", "punching dial+answer", "punching dial+answer", "punching dial+answer", "holding echo", "proving", "proving echo"},
	Failed:  {"idle", "idle", "dialling dial", "dialling dial", "holding", "dialling dial", "open"},
	Up:      {"open", "open", "open", "open", "holding", "open", "open"},
	Down:    {"idle", "dialling", "punching", "circling", "dialling dial", "dialling dial", "dialling dial"},
}

func TestEveryStateAndEvent(t *testing.T) {
	for k := range kinds {
		for s := range states {
			l := in(t, s)
			if s == Holding {
				l.wait(l.limits.Hold)
			}
			l.on(k)
			got := strings.TrimSpace(l.State().String() + " " + strings.Join(l.did, " "))
			if want := outcomes[k][s]; got != want {
				t.Errorf("%v while %v: %q, want %q", k, s, got, want)
			}
			if l.Carries() && !l.Connected() {
				t.Errorf("%v while %v: it carries without a connection", k, s)
			}
		}
	}
}

// The table in the package's text is the one that the code goes by.
func TestTableIsTheOneInTheText(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	words := [...]string{"·", "climb", "carry", "open", "prove", "echo", "answer", "beside", "fall"}
	seen := 0
	for line := range strings.Lines(string(text)) {
		name, cells, ok := strings.Cut(strings.TrimPrefix(line, "//\t"), "│")
		if !ok || !strings.HasPrefix(line, "//\t") {
			continue
		}
		for k := range kinds {
			if strings.ToLower(strings.TrimSpace(name)) != k.String() {
				continue
			}
			seen++
			var want []string
			for _, m := range table[k] {
				want = append(want, words[m])
			}
			if diff := cmp.Diff(want, strings.Fields(cells)); diff != "" {
				t.Errorf("%v (-code +text)\n%s", k, diff)
			}
		}
	}
	if seen != int(kinds) {
		t.Errorf("%d rows in the text, want %d", seen, kinds)
	}
}

// One rung after the other, then rest.
func TestClimbing(t *testing.T) {
	l := begin(t, all)
	l.on(Need).want(Dialling, "dial")
	l.on(Failed).want(Idle, "") // a single exchange does not punch
	l.on(Want).want(Punching, "punch")
	l.on(Failed).want(Circling, "circuit")
	l.on(Failed).want(Idle, "")
	l = begin(t, all)
	l.on(Want).want(Dialling, "dial").on(Failed).want(Punching, "punch").on(Up).want(Open, "")
	l = begin(t, Means{})
	l.on(Want).want(Idle, "")
	if d := l.tick(); d >= 0 {
		t.Errorf("woken after %v, and there is nothing to try", d)
	}
}

// After three punches in vain it rests, until something is new.
func TestThreeTriesThenRest(t *testing.T) {
	l := begin(t, Means{Punch: true})
	l.on(Want)
	var pauses []time.Duration
	for range 3 {
		l.want(Punching, "punch").on(Failed).want(Idle, "")
		l.on(Need) // traffic does not hurry it
		pauses = append(pauses, l.tick())
	}
	if diff := cmp.Diff([]time.Duration{5 * time.Second, 15 * time.Second, -1}, pauses); diff != "" {
		t.Errorf("pauses (-want +got)\n%s", diff)
	}
	if next := l.rungs[rungPunch].next; next.Sub(l.now) != 30*time.Minute {
		t.Errorf("the rest is %v", next.Sub(l.now))
	}
	for _, k := range []Kind{Told, Moved, Ask} {
		l.wait(time.Minute).on(Need).want(Idle, "").on(k).want(Punching, "punch")
		for range 3 { // back to rest
			l.on(Failed)
			l.wait(l.limits.Punch.Most).on(Tick)
		}
		l.did = nil
	}
}

// A peer that tells new places all the time has us punch at most every five seconds.
func TestNewPlacesDoNotKeepUsAtIt(t *testing.T) {
	l := begin(t, Means{Punch: true})
	l.on(Want)
	for range 100 {
		l.on(Failed, Told).wait(100 * time.Millisecond)
	}
	if got := len(l.did); got < 2 || got > 3 {
		t.Errorf("%d punches in ten seconds", got)
	}
}

func TestNothingIsTriedWithoutTraffic(t *testing.T) {
	l := begin(t, all)
	l.on(Up).wait(time.Hour).on(Down).want(Idle, "")
	if d := l.tick(); d >= 0 {
		t.Errorf("woken after %v", d)
	}
	l.on(Need).want(Dialling, "dial").on(Failed)
	n := 0
	for l.tick() >= 0 {
		l.on(Failed)
		n++
	}
	if n < 5 || n > 12 {
		t.Errorf("%d dials in the ten minutes after the last traffic", n)
	}
}

// A path that dies twice within a minute is watched before it carries again.
func TestHysteresis(t *testing.T) {
	l := begin(t, Means{})
	l.on(Up).want(Open, "").wait(time.Hour).on(Down)
	l.on(Up).want(Open, "").wait(59 * time.Second).on(Down)
	l.on(Up).want(Holding, "")
	if d := l.tick(); d != 10*time.Second {
		t.Errorf("held for %v", d)
	}
	l.want(Proving, "echo").on(Up).want(Open, "")
	l.wait(time.Second).on(Down, Up).want(Holding, "")
	if d := l.tick(); d != 20*time.Second {
		t.Errorf("the next time for %v", d)
	}
	l.want(Proving, "echo").on(Failed).want(Idle, "")
	for range 10 {
		l.on(Up, Down)
	}
	l.on(Up)
	if d := l.tick(); d != l.limits.HoldMost {
		t.Errorf("in the end for %v", d)
	}
	l.want(Proving, "echo").on(Up).want(Open, "").wait(time.Minute).on(Down, Up).want(Open, "")
}

func TestOwnNetworkChangedForgivesTheFlaps(t *testing.T) {
	l := in(t, Holding)
	l.on(Moved).want(Proving, "echo").on(Up).want(Open, "")
	l.on(Down).want(Dialling, "dial").on(Up).want(Open, "")
}

// The peer offers because it believes that the connection is gone: until that has brought
// an echo, mail goes by relay.
func TestOfferWhileOpen(t *testing.T) {
	l := begin(t, all).on(Up).want(Open, "")
	since := l.Since()
	l.wait(time.Hour).on(Offered).want(Proving, "echo").on(Up).want(Open, "")
	if l.Since() != since {
		t.Error("it began to carry anew")
	}
	l.on(Offered).want(Proving, "echo")
	if l.Carries() {
		t.Error("it carries")
	}
	l.on(Failed).want(Dialling, "dial")
}

// A result that nobody waits for any more changes nothing, but is remembered.
func TestLateResults(t *testing.T) {
	l := begin(t, Means{Punch: true})
	l.on(Want)
	old := l.Run()
	l.on(Offered).want(Punching, "punch answer")
	l.Handle(Event{Kind: Failed, Run: old, Result: Result{Code: PeerSilent}}, l.now)
	l.want(Punching, "")
	l.on(Up).want(Open, "")
	l.Handle(Event{Kind: Up, Run: l.attempts[1].run, Result: Result{Target: "there"}}, l.now)
	got := l.Attempts()
	if len(got) != 2 || got[1].Outcome != GivenUp || got[1].Code != PeerSilent || got[0].Outcome != Won || got[0].Target != "there" || !got[0].Answer {
		t.Errorf("remembered: %+v", got)
	}
	l.on(Down)
	for range 3 * l.limits.Memory {
		l.wait(l.limits.Spacing).on(Offered)
	}
	if got := len(l.Attempts()); got != l.limits.Memory {
		t.Errorf("%d are remembered", got)
	}
}

// New places, and an offer, have addresses dialled at once: punching takes seconds, and
// may come to nothing where a dial does not.
func TestDialBesideAPunch(t *testing.T) {
	l := begin(t, Means{Punch: true})
	l.on(Want).want(Punching, "punch")
	l.Means.Dial = true
	l.on(Told).want(Punching, "dial").on(Offered).want(Punching, "answer") // one dial is enough for now
	l.Handle(Event{Kind: Failed, Run: l.Side(), Result: Result{Code: NoAnswer}}, l.now)
	l.want(Punching, "")
	got := l.Attempts()
	if got[1].Rung != Dialling || got[1].Outcome != Lost || got[1].Code != NoAnswer || got[0].Outcome != Running {
		t.Errorf("remembered: %+v", got)
	}
	l.wait(2*time.Second).on(Told).want(Punching, "dial")
	l.on(Up).want(Open, "") // the transport is the first to say so
	l.Handle(Event{Kind: Up, Run: l.Side()}, l.now)
	if got := l.Attempts(); got[0].Outcome != Won || got[1].Outcome != GivenUp {
		t.Errorf("in the end: %+v", got)
	}
}

// A long punch does not keep a dial from being tried again and again.
func TestDialsGoOnBesideAPunch(t *testing.T) {
	l := begin(t, all)
	l.on(Want).fails(NoAnswer).want(Punching, "dial punch")
	var pauses []time.Duration
	for range 3 {
		pauses = append(pauses, l.tick())
		l.want(Punching, "dial")
	}
	if diff := cmp.Diff([]time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second}, pauses); diff != "" {
		t.Errorf("pauses (-want +got)\n%s", diff)
	}
	l.on(Up).want(Open, "").on(Down).want(Dialling, "dial")
}

// A peer that offers all the time has us punch at most every few seconds.
func TestOffersDoNotKeepUsAtIt(t *testing.T) {
	l := begin(t, Means{Punch: true})
	for range 100 {
		l.on(Offered, Failed).wait(100 * time.Millisecond)
	}
	if got := len(l.did); got != 4 {
		t.Errorf("%d punches in ten seconds", got)
	}
}

// Where another try cannot end otherwise, there is no other try.
func TestPeerThatWillNotPunch(t *testing.T) {
	l := begin(t, Means{Punch: true})
	l.on(Want).fails(PeerOff).want(Idle, "punch")
	if d := l.tick(); d >= 0 {
		t.Errorf("tried again after %v", d)
	}
}

func TestWhy(t *testing.T) {
	talking := Facts{Session: true}
	for _, c := range []struct {
		name string
		do   func(l *life)
		f    Facts
		want Code
	}{
		{"open", func(l *life) { l.on(Up) }, talking, Connected},
		{"trying", func(l *life) { l.on(Need) }, talking, Trying},
		{"held", func(l *life) { l.Means = Means{}; l.on(Up, Down, Up, Down, Up) }, talking, Unsteady},
		{"quiet", func(l *life) {}, talking, NotTried},
		{"no session", func(l *life) { l.on(Need).fails(NoAnswer) }, Facts{}, NoSession},
		{"one exchange", func(l *life) { l.on(Need).fails(NoAnswer) }, talking, Single},
		{"punching is off", func(l *life) { l.Means.Punch = false; l.on(Need).fails(NoAnswer) }, Facts{Session: true, Off: true}, Off},
		{"two NATs", func(l *life) { l.Means = Means{Punch: true}; l.on(Want).fails(NATs) }, talking, NATs},
		{"two NATs, and a circuit in vain", func(l *life) { l.on(Want).fails(NoAnswer).fails(NATs).fails(CircuitError) }, talking, NATs},
		{"a peer that wants none", func(l *life) { l.Means = Means{Punch: true}; l.on(Want).fails(PeerOff) }, talking, PeerOff},
		{"it was punched since", func(l *life) {
			l.Means = Means{Punch: true}
			l.on(Want).fails(NATs).wait(time.Minute).on(Tick, Up)
			l.Means = Means{}
			l.on(Down)
		}, talking, NoAddress},
		{"nowhere to go", func(l *life) { l.Means = Means{}; l.on(Need) }, talking, NoAddress},
		{"no answer", func(l *life) { l.Means = Means{Dial: true}; l.on(Need).fails(NoAnswer) }, talking, NoAnswer},
		{"a circuit only", func(l *life) { l.Means = Means{Circuit: true}; l.on(Want).fails(CircuitError) }, talking, CircuitError},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := begin(t, all)
			c.do(l)
			if got := l.Why(c.f, l.now); got.Code != c.want {
				t.Errorf("%v: %q, want %q", l.State(), got.Code, c.want)
			}
		})
	}
	for code, s := range stories {
		if s.text == "" || s.next == "" && code != Connected {
			t.Errorf("%s: a sentence is missing", code)
		}
	}
	l := begin(t, Means{Punch: true})
	l.on(Want).fails(NATs)
	if ours, theirs := l.Why(Facts{Session: true, Symmetric: true}, l.now), l.Why(talking, l.now); ours.Text == theirs.Text || ours.NextTry.IsZero() {
		t.Errorf("%+v and %+v", ours, theirs)
	}
}

func TestLimitsAreChecked(t *testing.T) {
	if err := DefaultLimits().Check(); err != nil {
		t.Error(err)
	}
	for _, spoil := range []func(*Limits){
		func(l *Limits) { l.Dial.First = 0 },
		func(l *Limits) { l.Punch.Rest = 0 },
		func(l *Limits) { l.Circuit.Factor = 0 },
		func(l *Limits) { l.HoldMost = l.Hold - 1 },
		func(l *Limits) { l.Memory = 0 },
		func(l *Limits) { l.Spacing = 0 },
	} {
		l := DefaultLimits()
		spoil(&l)
		if l.Check() == nil {
			t.Errorf("%+v is taken", l)
		}
	}
}

package homing

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// life is a table and the relays around it. Relays have one letter.
type life struct {
	t   *testing.T
	tab *Table
	now time.Time
	up  map[string]bool // lines are connected as soon as they are wanted
	rtt map[string]int  // in ms, of those that answer a measurement
	log []string        // what others were told, one after the other
}

func begin(t *testing.T, keep int, urls string, past ...Past) *life {
	l := &life{t: t, now: time.Unix(1_800_000_000, 0), up: map[string]bool{}, rtt: map[string]int{}}
	l.restart(keep, urls, past...)
	return l
}

func (l *life) restart(keep int, urls string, past ...Past) {
	limits := DefaultLimits()
	limits.Keep = keep
	for i := range past {
		if !past[i].Left.IsZero() {
			past[i].Left = l.now.Add(time.Duration(past[i].Left.Unix()) * time.Second)
		}
	}
	l.tab = New(limits, strings.Split(urls, ""), past, l.now)
}

// relays sets which of them are up and answer: "a10 b20".
func (l *life) relays(list string) {
	before := l.up
	l.up, l.rtt = map[string]bool{}, map[string]int{}
	for _, word := range strings.Fields(list) {
		ms := 0
		for _, r := range word[1:] {
			ms = 10*ms + int(r-'0')
		}
		l.up[word[:1]], l.rtt[word[:1]] = true, ms
	}
	for url := range before {
		if !l.up[url] {
			l.tab.Lost(url, Gone, l.now)
		}
	}
	l.settle()
}

func (l *life) measure() {
	for _, url := range l.tab.Own() {
		l.tab.Measured(url, time.Duration(l.rtt[url])*time.Millisecond, l.now)
	}
	l.settle()
}

// settle connects the lines that are wanted, until nothing changes.
func (l *life) settle() Plan {
	for {
		p := l.tab.Decide(l.now)
		if !p.Next.IsZero() && !p.Next.After(l.now) {
			l.t.Fatalf("the next decision is due at once: %v", p.Next)
		}
		changed := false
		for _, e := range l.tab.all {
			wanted := strings.Contains(strings.Join(p.Lines, ""), e.url)
			switch {
			case wanted && l.up[e.url] && !e.connected:
				l.tab.Connected(e.url, e.waiting, l.now)
				changed = true
			case !wanted && e.connected:
				l.tab.Lost(e.url, Ended, l.now)
				changed = true
			}
		}
		if changed {
			continue
		}
		if told := strings.Join(p.Told, ""); told != "" && (len(l.log) == 0 || l.log[len(l.log)-1] != told) {
			l.log = append(l.log, told)
		}
		return p
	}
}

// pass lets time go by, with a measurement every five minutes.
func (l *life) pass(d time.Duration) {
	const every = 5 * time.Minute
	for end := l.now.Add(d); l.now.Before(end); {
		p := l.settle()
		next := l.now.Truncate(every).Add(every)
		if !p.Next.IsZero() && p.Next.Before(next) {
			next = p.Next
		}
		if next.After(end) {
			l.now = end
			l.settle()
			return
		}
		if l.now = next; next.Equal(next.Truncate(every)) {
			l.measure()
		}
	}
}

func (l *life) is(when, homes, told, lines string) {
	l.t.Helper()
	p := l.settle()
	got := []string{strings.Join(p.Homes, ""), strings.Join(p.Told, ""), strings.Join(p.Lines, "")}
	if diff := cmp.Diff([]string{homes, told, lines}, got); diff != "" {
		l.t.Errorf("%s: homes, told, lines (-want +got)\n%s", when, diff)
	}
}

func TestFastestRelaysAreHomes(t *testing.T) {
	l := begin(t, 2, "abcd")
	l.is("before anything is known", "", "", "")
	l.relays("a90 b20 c50 d21")
	l.measure()
	l.is("after the first measurement", "bd", "bd", "bd")
}

func TestFewRelaysNeedNoMeasurement(t *testing.T) {
	l := begin(t, 2, "ab")
	l.relays("a90 b20")
	l.is("at once", "ab", "ab", "ab")
	l.measure()
	l.is("the faster first", "ba", "ba", "ba")
}

func TestNobodyAnswers(t *testing.T) {
	l := begin(t, 2, "abc")
	l.measure()
	l.is("the owner's first are tried, nobody is told", "ab", "", "ab")
	l.relays("c50")
	l.pass(6 * time.Minute)
	l.is("the one that is there", "cb", "c", "cb")
}

func TestHomeThatDies(t *testing.T) {
	l := begin(t, 2, "abc")
	l.relays("a10 b20 c30")
	l.measure()
	l.relays("b20 c30")
	l.is("at first", "ab", "ab", "ab")
	l.pass(DefaultLimits().Patience)
	l.is("after a while", "cb", "cb", "cba")
	l.relays("a10 b20 c30")
	l.is("it is back", "cb", "cb", "cba")
	l.pass(9 * time.Minute)
	l.is("not yet for long", "cb", "cb", "cba")
	l.pass(20 * time.Minute)
	l.is("for long", "ab", "ab", "abc")
	if diff := cmp.Diff([]string{"ab", "cb", "ab"}, l.log); diff != "" {
		t.Errorf("what others were told (-want +got)\n%s", diff)
	}
}

func TestRestartOfARelayChangesNothing(t *testing.T) {
	l := begin(t, 2, "abc")
	l.relays("a10 b20 c30")
	l.measure()
	l.relays("b20 c30")
	l.pass(10 * time.Second)
	l.relays("a10 b20 c30")
	l.pass(time.Hour)
	if diff := cmp.Diff([]string{"ab"}, l.log); diff != "" {
		t.Errorf("what others were told (-want +got)\n%s", diff)
	}
}

// A relay that comes and goes loses its place once; others are not told each time.
func TestFlapping(t *testing.T) {
	for name, c := range map[string]struct {
		urls string
		want []string
	}{
		"with another in reserve": {"abc", []string{"ab", "cb"}},
		"with none":               {"ab", []string{"ab", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := begin(t, 2, c.urls)
			l.relays("a10 b20 c30")
			l.measure()
			for range 100 {
				l.relays("b20 c30")
				l.pass(40 * time.Second)
				l.relays("a10 b20 c30")
				l.pass(20 * time.Second)
			}
			if diff := cmp.Diff(c.want, l.log); diff != "" {
				t.Errorf("what others were told (-want +got)\n%s", diff)
			}
		})
	}
}

// The only relay is told again as soon as it is back: there is no other.
func TestOnlyRelay(t *testing.T) {
	l := begin(t, 2, "a")
	l.relays("a10")
	l.relays("")
	l.pass(time.Hour)
	l.is("gone for long", "a", "a", "a")
	l.relays("a10")
	l.is("back", "a", "a", "a")
	l.tab.Drains("a")
	l.is("draining, and there is no other", "a", "a", "a")
}

func TestJitterMovesNobody(t *testing.T) {
	l := begin(t, 2, "abcd")
	l.relays("a20 b22 c24 d26")
	l.measure()
	for i := range 200 {
		l.relays([]string{"a20 b29 c21 d28", "a28 b20 c29 d20", "a25 b25 c20 d20", "a300 b21 c22 d20"}[i%4])
		l.pass(5 * time.Minute)
	}
	if diff := cmp.Diff([]string{"ab"}, l.log); diff != "" {
		t.Errorf("what others were told (-want +got)\n%s", diff)
	}
}

func TestClearlyFasterForLong(t *testing.T) {
	l := begin(t, 2, "abc")
	l.relays("a20 b100 c200")
	l.measure()
	l.relays("a20 b100 c30")
	l.pass(7 * time.Minute)
	l.is("not measured often enough", "ab", "ab", "ab")
	l.pass(10 * time.Minute)
	l.is("measured often", "ac", "ac", "acb")
}

// A faster relay takes the place of a home only when it has let us in.
func TestFasterRelayThatRefuses(t *testing.T) {
	l := begin(t, 1, "ab")
	l.relays("a100 b10")
	l.up["b"] = false
	l.tab.Lost("b", Gone, l.now)
	l.settle()
	l.tab.Measured("a", 100*time.Millisecond, l.now)
	l.is("the one that answered", "a", "a", "a")
	l.pass(20 * time.Minute)
	l.is("tried beside the home", "a", "a", "ab")
	l.tab.Lost("b", Refused, l.now)
	l.is("refused", "a", "a", "a")
	l.pass(9 * time.Minute)
	l.is("and left alone", "a", "a", "a")
}

func TestDraining(t *testing.T) {
	for name, drain := range map[string]func(*life){
		"a sign":     func(l *life) { l.tab.Drains("a") },
		"a goodbye":  func(l *life) { delete(l.up, "a"); l.tab.Lost("a", Drained, l.now) },
		"a refusal":  func(l *life) { delete(l.up, "a"); l.tab.Lost("a", Refused, l.now) },
		"both signs": func(l *life) { l.tab.Drains("a"); delete(l.up, "a"); l.tab.Lost("a", Drained, l.now) },
	} {
		t.Run(name, func(t *testing.T) {
			l := begin(t, 2, "abc")
			l.relays("a10 b20 c30")
			l.measure()
			drain(l)
			l.is("another takes its place at once", "cb", "cb", "cba")
		})
	}
}

func TestDrainingWithoutReserve(t *testing.T) {
	l := begin(t, 2, "ab")
	l.relays("a10 b20")
	l.tab.Drains("a")
	l.is("only the other is told", "b", "b", "ba")
	if v := l.tab.Views(); v[1].URL != "a" || v[1].Role != Draining || v[1].Told {
		t.Errorf("shown: %+v", v)
	}
	l.relays("b20")
	l.relays("a10 b20")
	l.pass(DefaultLimits().Back)
	l.is("it came back as if nothing had been", "ba", "ba", "ba")
}

// The line to a relay that was a home stays until nobody can leave anything there.
func TestLeaving(t *testing.T) {
	moved := func(t *testing.T) *life {
		l := begin(t, 1, "ab")
		l.relays("a100 b200")
		l.measure()
		l.relays("a100 b10")
		l.pass(30 * time.Minute)
		l.is("moved", "b", "b", "ba")
		return l
	}
	t.Run("read to its end", func(t *testing.T) {
		l := moved(t)
		l.pass(47 * time.Hour)
		l.is("others may still know us there", "b", "b", "ba")
		l.tab.find("a").waiting = 2
		l.pass(2 * time.Hour)
		l.is("mail lies there", "b", "b", "ba")
		l.tab.Took("a")
		if !l.tab.Took("a") || l.tab.Took("a") {
			t.Error("the last message was not told, or twice")
		}
		l.is("all is read", "b", "b", "b")
	})
	t.Run("out of reach", func(t *testing.T) {
		l := moved(t)
		l.relays("b10")
		l.pass(100 * time.Hour)
		l.is("mail may lie there", "b", "b", "ba")
		l.pass(21 * time.Hour)
		l.is("what may lie there has expired", "b", "b", "b")
	})
	t.Run("a home again", func(t *testing.T) {
		l := moved(t)
		l.relays("a100")
		l.pass(time.Minute)
		l.is("back", "a", "a", "ab")
		l.pass(200 * time.Hour)
		l.is("for good", "a", "a", "a")
	})
}

func TestPastIsTakenUp(t *testing.T) {
	l := begin(t, 2, "abcd")
	l.relays("a10 b20 c30 d5")
	l.measure()
	l.pass(time.Minute)
	past := l.tab.Past()
	if diff := cmp.Diff([]Past{{URL: "a", Rank: 2}, {URL: "d", Rank: 1}}, past); diff != "" {
		t.Fatalf("-want +got\n%s", diff)
	}

	l.restart(2, "abcd", past...)
	p := l.tab.Decide(l.now)
	if diff := cmp.Diff([][]string{{"d", "a"}, {"d", "a"}}, [][]string{p.Homes, p.Told}); diff != "" {
		t.Errorf("before the first line (-want +got)\n%s", diff)
	}
	l.is("after a start", "da", "da", "da")

	l.restart(2, "bcd", past...)
	l.is("the owner took one away", "d", "d", "da")
	l.measure()
	l.is("another is found", "db", "db", "dba")
	l.pass(49 * time.Hour)
	l.is("it is left like any other", "db", "db", "db")
	if diff := cmp.Diff([]string{"b", "c", "d"}, l.tab.Own()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestSameRelayTwice(t *testing.T) {
	l := begin(t, 2, "abc")
	l.relays("a10 b10 c30")
	l.measure()
	l.tab.Same("b", "a")
	l.is("one of the two is enough", "ac", "ac", "ac")
	if v := l.tab.Views(); v[2].URL != "b" || v[2].SameAs != "a" || v[2].Role != Standby {
		t.Errorf("shown: %+v", v)
	}
}

// Whatever happens in whatever order, others are told of a relay that is there if there
// is one, and no line to a relay that they are told of is given up.
func TestPlansHoldTogether(t *testing.T) {
	for seed := range 50 {
		l := begin(t, 1+seed%3, "abcde")
		x := uint32(seed + 1)
		next := func(n uint32) uint32 {
			x = x*1664525 + 1013904223
			return (x >> 16) % n
		}
		for range 60 {
			var up []string
			for _, url := range "abcde" {
				if next(3) > 0 {
					up = append(up, string(url)+string(rune('1'+next(9)))+"0")
				}
			}
			l.relays(strings.Join(up, " "))
			if next(8) == 0 {
				l.tab.Drains(string(rune('a' + next(5))))
			}
			if next(8) == 0 {
				l.tab.Lost(string(rune('a'+next(5))), Refused, l.now)
			}
			l.pass(time.Duration(1+next(1500)) * time.Second)
			p := l.settle()
			lines := strings.Join(p.Lines, "")
			there := false
			for _, url := range p.Told {
				there = there || l.up[url]
				if !strings.Contains(lines, url) {
					t.Fatalf("seed %d: told of %s, and no line to it: %+v", seed, url, p)
				}
			}
			for _, url := range p.Homes {
				if l.up[url] && !there {
					t.Fatalf("seed %d: %s is connected, and others are told %q", seed, url, p.Told)
				}
			}
			if len(p.Homes) > l.tab.limits.Keep {
				t.Fatalf("seed %d: %d homes", seed, len(p.Homes))
			}
		}
	}
}

package reputation

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// reach is how far one owner, or everybody who proves nothing, may move a score, with
// room for rounding.
const reach = 0.02 + 1e-9

func drawVoices(t *rapid.T, label string) []Voice {
	n := rapid.IntRange(0, 60).Draw(t, label)
	voices := make([]Voice, 0, n)
	for range n {
		w := rapid.Float64Range(0, 50).Draw(t, "weight")
		voices = append(voices, Voice{
			Proven: rapid.Bool().Draw(t, "proven"), Weight: w, Sum: w * rapid.Float64Range(0, 1).Draw(t, "value"),
		})
	}
	return voices
}

func drawAgent(t *rapid.T) Agent {
	return Agent{
		Tier: Tier(rapid.IntRange(0, 2).Draw(t, "tier")),
		Age:  time.Duration(rapid.Int64Range(0, int64(2*FullAge)).Draw(t, "age")),
	}
}

func drawVoice(t *rapid.T, proven bool) Voice {
	w := rapid.Float64Range(0, 5000).Draw(t, "weight")
	return Voice{Proven: proven, Weight: w, Sum: w * rapid.Float64Range(0, 1).Draw(t, "value")}
}

func with(v []Voice, more Voice) []Voice { return append(append([]Voice{}, v...), more) }

// T73: whatever those say and do who prove nothing, and however many they are.
func TestT73StrangersTogetherMoveNoScoreByMoreThanTwoHundredths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, e := drawAgent(t), Evidence{Ratings: drawVoices(t, "ratings"), Sessions: drawVoices(t, "sessions")}
		ring := Evidence{Ratings: with(e.Ratings, drawVoice(t, false)), Sessions: with(e.Sessions, drawVoice(t, false))}
		if d := math.Abs(Score(a, ring) - Score(a, e)); d > reach {
			t.Fatalf("moved by %v", d)
		}
	})
}

// T74: whatever one owner says, and with however many agents.
func TestT74OneOwnerMovesNoScoreByMoreThanTwoHundredths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, e := drawAgent(t), Evidence{Ratings: drawVoices(t, "ratings"), Sessions: drawVoices(t, "sessions")}
		attacked := Evidence{Ratings: with(e.Ratings, drawVoice(t, true)), Sessions: e.Sessions}
		if d := math.Abs(Score(a, attacked) - Score(a, e)); d > reach {
			t.Fatalf("moved by %v", d)
		}
		// Nor by changing its mind altogether.
		turned := Evidence{Ratings: with(e.Ratings, drawVoice(t, true)), Sessions: e.Sessions}
		if d := math.Abs(Score(a, attacked) - Score(a, turned)); d > reach {
			t.Fatalf("turned by %v", d)
		}
	})
}

func TestScoreStaysBetweenItsEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, e := drawAgent(t), Evidence{Ratings: drawVoices(t, "ratings"), Sessions: drawVoices(t, "sessions")}
		if s := Score(a, e); !Valid(s) {
			t.Fatalf("score %v", s)
		}
	})
}

func TestBetterWordsNeverLowerAScore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, e := drawAgent(t), Evidence{Ratings: drawVoices(t, "ratings"), Sessions: drawVoices(t, "sessions")}
		v := drawVoice(t, rapid.Bool().Draw(t, "proven"))
		better := v
		better.Sum = v.Sum + (v.Weight-v.Sum)*rapid.Float64Range(0, 1).Draw(t, "better")
		worse := Score(a, Evidence{Ratings: with(e.Ratings, v), Sessions: e.Sessions})
		if s := Score(a, Evidence{Ratings: with(e.Ratings, better), Sessions: e.Sessions}); s < worse-1e-12 {
			t.Fatalf("%v, but %v for better words", worse, s)
		}
	})
}

// town is a small registry: agents with owners and networks, and who said what of
// whom. It keeps the rules that need a memory, as the database does.
type town struct {
	dice     *rand.Rand
	start    time.Time
	now      time.Time
	seen     map[string]time.Time // last rating of a target from a network
	ratings  voices
	sessions voices
}

// voices are what owners say, by target and owner.
type voices map[string]map[string]Voice

func (v voices) add(to, from citizen, weight, value float64) {
	if v[to.name] == nil {
		v[to.name] = make(map[string]Voice)
	}
	old := v[to.name][from.owner]
	v[to.name][from.owner] = Voice{Proven: from.owner != "", Weight: old.Weight + weight, Sum: old.Sum + weight*value}
}

type citizen struct {
	name, owner, network string // owner: empty for those who prove nothing
	tier                 Tier
	age                  time.Duration
}

func newTown(seed uint64) *town {
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	return &town{
		dice: rand.New(rand.NewPCG(seed, seed)), start: start, now: start,
		seen: make(map[string]time.Time), ratings: make(voices), sessions: make(voices),
	}
}

func (w *town) rate(from, to citizen, score float64) {
	key := to.name + " " + from.network
	last, seen := w.seen[key]
	w.ratings.add(to, from, Weight(Rater{
		Tier: from.tier, Age: from.age + w.now.Sub(w.start),
		SameOwner:   from.owner != "" && from.owner == to.owner,
		SameNetwork: seen && w.now.Sub(last) < NetworkWindow,
	}), score)
	w.seen[key] = w.now
}

// meet is a session that both sides report alike.
func (w *town) meet(from, to citizen, success float64) {
	w.sessions.add(to, from, Weight(Rater{Tier: from.tier, Age: from.age + w.now.Sub(w.start)}), success)
}

func (w *town) score(c citizen) float64 {
	e := Evidence{
		Ratings:  slices.Collect(maps.Values(w.ratings[c.name])),
		Sessions: slices.Collect(maps.Values(w.sessions[c.name])),
	}
	return Score(Agent{Tier: c.tier, Age: c.age}, e) // as old as at the start: time is not what is tested
}

// settle makes a target, with honest citizens around it of whom half prove who they are.
func (w *town) settle(seed uint64) citizen {
	target := citizen{name: "target", tier: Tier(seed % 3), age: time.Duration(w.dice.IntN(800)) * day}
	quality := w.dice.Float64()
	for n := range w.dice.IntN(60) {
		c := citizen{network: fmt.Sprint("street ", n), age: time.Duration(w.dice.IntN(500)) * day}
		if w.dice.IntN(2) == 0 {
			c.owner, c.tier = fmt.Sprint("owner ", n), Verified
		}
		w.rate(c, target, math.Min(1, math.Max(0, quality+0.2*w.dice.NormFloat64())))
		w.meet(c, target, float64(w.dice.IntN(2)))
	}
	return target
}

// praise is a month in which fresh agents, each from a network of its own, meet the
// target and praise it.
func (w *town) praise(sybils int, target citizen) (moved float64) {
	before := w.score(target)
	for n := range sybils {
		if n%(1+sybils/30) == 0 {
			w.now = w.now.Add(day)
		}
		c := citizen{network: fmt.Sprint("bot ", n)}
		w.meet(c, target, 1)
		w.rate(c, target, 1)
		moved = math.Max(moved, math.Abs(w.score(target)-before))
	}
	return moved
}

func simulateT73(t *testing.T, sybils int, seeds uint64) {
	worst := 0.0
	for seed := range seeds {
		w := newTown(seed)
		moved := w.praise(sybils, w.settle(seed))
		if worst = math.Max(worst, moved); moved > reach {
			t.Errorf("seed %d: %d strangers moved a score by %v", seed, sybils, moved)
		}
	}
	t.Logf("%d strangers moved a score by %.4f at most", sybils, worst)
}

func simulateT74(t *testing.T, seeds uint64) {
	worst := 0.0
	for seed := range seeds {
		w := newTown(seed)
		target := w.settle(seed)
		before := w.score(target)
		for n := range 100 {
			w.rate(citizen{owner: "the one", network: fmt.Sprint("bot ", n), tier: Verified, age: 90 * day}, target, 0)
		}
		fell := before - w.score(target)
		if worst = math.Max(worst, fell); fell > reach {
			t.Errorf("seed %d: one owner lowered a score by %v", seed, fell)
		}
	}
	t.Logf("100 agents of one owner lowered a score by %.4f at most", worst)
}

// T73: a thousand fresh agents praise one.
func TestT73AThousandFreshAgentsPraiseOne(t *testing.T) { simulateT73(t, 1000, 20) }

// T74: a hundred agents of one owner speak ill of one.
func TestT74AHundredAgentsOfOneOwnerSpeakIll(t *testing.T) { simulateT74(t, 100) }

// T73 with ten thousand, and both with more towns.
func TestSoakTenThousandFreshAgents(t *testing.T) {
	if os.Getenv("AMESH_SOAK") != "1" {
		t.Skip("takes a minute; set AMESH_SOAK=1")
	}
	simulateT73(t, 10_000, 200)
	simulateT74(t, 10_000)
}

package reputation

import (
	"math"
	"testing"
	"time"
)

const day = 24 * time.Hour

// say is n owners of a kind who give the same score.
func say(n int, proven bool, score float64) []Voice {
	var v []Voice
	for range n {
		w := Weight(Rater{Tier: Verified, Age: 30 * day})
		if !proven {
			w = Weight(Rater{Age: 30 * day})
		}
		v = append(v, Voice{Proven: proven, Weight: w, Sum: w * score})
	}
	return v
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-12 }

func TestScoreIsTheFormula(t *testing.T) {
	for name, c := range map[string]struct {
		agent Agent
		e     Evidence
		want  float64
	}{
		"nobody said anything":             {Agent{}, Evidence{}, 0.5},
		"nobody, verified":                 {Agent{Tier: Verified}, Evidence{}, 0.6},
		"nobody, organisation":             {Agent{Tier: Organization}, Evidence{}, 0.7},
		"nobody, old":                      {Agent{Age: FullAge}, Evidence{}, 0.5},
		"all praise, fresh":                {Agent{}, Evidence{Ratings: say(20, true, 1)}, 0.3*0.5 + 0.4*1 + 0 + 0.2*0.5},
		"all praise, half a year":          {Agent{Age: FullAge / 2}, Evidence{Ratings: say(20, true, 1)}, 0.15 + 0.4 + 0.05 + 0.1},
		"everything is right":              {Agent{Organization, FullAge}, Evidence{Ratings: say(20, true, 1), Sessions: say(20, true, 1)}, 0.3 + 0.4 + 0.1 + 0.14},
		"everything is wrong":              {Agent{}, Evidence{Ratings: say(99, true, 0), Sessions: say(99, true, 0)}, 0.1},
		"one owner in twenty":              {Agent{}, Evidence{Ratings: say(1, true, 1)}, 0.15 + 0.4*(0.5+0.5/20) + 0.1*(0.5-0.5/20) + 0.1},
		"a crowd is half an owner":         {Agent{}, Evidence{Ratings: say(1000, false, 1)}, 0.15 + 0.4*(0.5+0.5/40) + 0.1*(0.5-0.5/40) + 0.1},
		"an age that is ahead of us":       {Agent{Age: -day}, Evidence{Ratings: say(20, true, 1)}, 0.65},
		"an owner that weighs nothing":     {Agent{}, Evidence{Ratings: []Voice{{Proven: true}}}, 0.5},
		"as many sessions ended badly":     {Agent{}, Evidence{Sessions: append(say(10, true, 1), say(10, true, 0)...)}, 0.5},
		"an owner that says several times": {Agent{}, Evidence{Ratings: []Voice{{true, 40, 40}}}, 0.15 + 0.4*(0.5+0.5/20) + 0.1*(0.5-0.5/20) + 0.1},
	} {
		if got := Score(c.agent, c.e); !near(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestWeightOfARater(t *testing.T) {
	for name, c := range map[string]struct {
		r    Rater
		want float64
	}{
		"verified, old":              {Rater{Tier: Verified, Age: 7 * day}, 1},
		"organisation, old":          {Rater{Tier: Organization, Age: 7 * day}, 1},
		"anonymous, old":             {Rater{Age: 7 * day}, 0.5},
		"verified, new":              {Rater{Tier: Verified, Age: 7*day - 1}, 0.25},
		"anonymous, new":             {Rater{}, 0.125},
		"same network within a day":  {Rater{Tier: Verified, Age: 7 * day, SameNetwork: true}, 0},
		"same owner as whom it rate": {Rater{Tier: Organization, Age: 7 * day, SameOwner: true}, 0},
	} {
		if got := Weight(c.r); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// T75: what is no score between 0 and 1 is refused.
func TestT75Scores(t *testing.T) {
	for score, want := range map[float64]bool{
		0: true, 1: true, 0.5: true, math.SmallestNonzeroFloat64: true, math.Copysign(0, -1): true,
		-math.SmallestNonzeroFloat64: false, 1 + 1e-15: false, -1: false, 2: false, 1e308: false, -1e308: false,
		math.Inf(1): false, math.Inf(-1): false,
	} {
		if Valid(score) != want {
			t.Errorf("Valid(%v) is %v", score, !want)
		}
	}
	if Valid(math.NaN()) {
		t.Error("NaN is a score")
	}
}

func TestRatedFromFiveCountingRatings(t *testing.T) {
	if Rated(4) || !Rated(5) {
		t.Error("not from five")
	}
}

func TestFlags(t *testing.T) {
	praise, blame := Evidence{Ratings: say(30, true, 1)}, Evidence{Ratings: say(30, true, 0)}
	for name, c := range map[string]struct {
		before, now Evidence
		want        string
	}{
		"nothing":                     {Evidence{}, Evidence{}, ""},
		"blame turned into praise":    {blame, praise, "rapid_reputation_increase"},
		"praise turned into blame":    {praise, blame, "rapid_reputation_decrease"},
		"first five, all perfect":     {Evidence{Ratings: say(4, true, 1)}, Evidence{Ratings: say(5, true, 1)}, ""},
		"a thousand strangers praise": {Evidence{}, Evidence{Ratings: say(1000, false, 1)}, ""},
	} {
		if got := Compare(Agent{}, c.before, c.now).String(); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

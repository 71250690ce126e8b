// Package reputation computes an agent's score from what others said of it and from
// how its sessions ended. It is pure: who rated whom is in the database, and this
// package says what a rating weighs and what all of them come to.
//
// The formula is the specification's:
//
//	score = 0.3 completion + 0.4 peers + 0.1 age + 0.2 tier
//
// Its two implementations in the 0.2 registry disagree on everything else, and both can
// be bought with a thousand fresh keys (T73). Here evidence is counted by owner: what
// is proved to be one organisation, one account or one agent weighs at most 1, and all
// who prove nothing are one owner together, for they may be one. An agent starts at the
// neutral score of its tier, as if FullEvidence owners had said so, and each owner that
// is heard takes the place of one of these. So no owner ever moves a score by more than
// 0.02, there is no step where an agent becomes rated, and nothing to win by being heard
// first. docs/protocol/registry-trust.md §2 has the rules with their reasons.
package reputation

import (
	"math"
	"time"
)

// Tier is how much is known about who is behind an agent. A higher one is better.
type Tier uint8

// The tiers.
const (
	Anonymous    Tier = 0
	Verified     Tier = 1
	Organization Tier = 2
)

// Neutral is the score of an agent of this tier about which nobody said anything, and
// what the formula takes for the tier.
func (t Tier) Neutral() float64 {
	switch t {
	case Verified:
		return neutral + bonusVerified
	case Organization:
		return neutral + bonusOrganization
	}
	return neutral
}

// Rater is what is known of who rates, at the time of the rating.
type Rater struct {
	Tier        Tier
	Age         time.Duration // since it registered
	SameOwner   bool          // it belongs to whom the rated agent belongs
	SameNetwork bool          // its network rated the same agent within NetworkWindow
}

// Weight is what a rating weighs, or a report of a session. A mutual rating weighs
// MutualFactor of it.
func Weight(r Rater) float64 {
	if r.SameOwner || r.SameNetwork {
		return 0
	}
	w := 1.0
	if r.Tier == Anonymous {
		w *= anonymousFactor
	}
	if r.Age < NewcomerAge {
		w *= newcomerFactor
	}
	return w
}

// Valid reports whether a number is a score (T75).
func Valid(score float64) bool { return score >= 0 && score <= 1 } // false for NaN

// Voice is what one owner says: the weights of its ratings, or of its sessions, and
// the sum of each weight times its value, which lies between 0 and 1.
type Voice struct {
	Proven bool // false: the owner of all who prove nothing
	Weight float64
	Sum    float64
}

// Agent is what the score depends on besides others.
type Agent struct {
	Tier Tier
	Age  time.Duration // since it registered
}

// Evidence is what others said of an agent: scores, and whether sessions ended well.
type Evidence struct {
	Ratings  []Voice
	Sessions []Voice
}

// Score is the agent's score, between 0 and 1.
func Score(a Agent, e Evidence) float64 {
	base := a.Tier.Neutral()
	peers, heard := hear(e.Ratings, base)
	completion, _ := hear(e.Sessions, base)
	age := math.Min(1, math.Max(0, a.Age.Hours()/FullAge.Hours()))
	score := weightCompletion*completion + weightPeers*peers + weightAge*(base+heard*(age-base)) + weightTier*base
	return math.Min(1, math.Max(0, score))
}

// hear is the mean of what owners say, where silence speaks for base, and how much of
// FullEvidence is there, between 0 and 1.
func hear(voices []Voice, base float64) (mean, heard float64) {
	var weight, sum float64
	var crowd Voice
	for _, v := range voices {
		if !v.Proven {
			crowd.Weight += v.Weight
			crowd.Sum += v.Sum
			continue
		}
		w, s := v.capped(1)
		weight += w
		sum += s
	}
	w, s := crowd.capped(anonymousFactor)
	weight += w
	sum += s
	total := math.Max(weight, FullEvidence)
	return (sum + (total-weight)*base) / total, math.Min(1, weight/FullEvidence)
}

// capped is a voice that weighs no more than limit, and says the same.
func (v Voice) capped(limit float64) (weight, sum float64) {
	if v.Weight <= 0 {
		return 0, 0
	}
	mean := math.Min(1, math.Max(0, v.Sum/v.Weight))
	weight = math.Min(v.Weight, limit)
	return weight, weight * mean
}

// Rated reports whether so many counting ratings make an agent's score more than a
// first impression. Ratings of weight 0 do not count.
func Rated(counting int) bool { return counting >= RatedFrom }

// Change is what a score did within FlagWindow.
type Change int8

// The changes that are shown.
const (
	Steady        Change = 0
	RapidIncrease Change = 1
	RapidDecrease Change = -1
)

// String is the flag in the 0.2 API, empty for Steady.
func (c Change) String() string {
	switch c {
	case RapidIncrease:
		return "rapid_reputation_increase"
	case RapidDecrease:
		return "rapid_reputation_decrease"
	}
	return ""
}

// Compare says what the evidence of FlagWindow did to an agent's score. Both are judged
// with the agent as it is now, so that neither time nor a new tier raises a flag.
func Compare(a Agent, before, now Evidence) Change {
	switch d := Score(a, now) - Score(a, before); {
	case d > sudden:
		return RapidIncrease
	case d < -sudden:
		return RapidDecrease
	}
	return Steady
}

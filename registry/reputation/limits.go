package reputation

import "time"

// The formula's weights, which both implementations of 0.2 share.
const (
	weightCompletion = 0.3
	weightPeers      = 0.4
	weightAge        = 0.1
	weightTier       = 0.2
)

const (
	// neutral is where an anonymous agent starts; the bonuses are those of 0.2's second
	// system. The first's constants would keep every score below 0.78.
	neutral           = 0.5
	bonusVerified     = 0.1
	bonusOrganization = 0.2

	// FullEvidence is how many owners must be heard until what they say is all that
	// counts. An owner's share is 1 in 20 at most, and 0.4 of that is 0.02 (T74).
	FullEvidence = 20.0

	// FullAge is the age from which an agent has all of the formula's share for age. It
	// is the second system's: thirty days are cheap to wait for.
	FullAge = 365 * 24 * time.Hour

	// RatedFrom is how many counting ratings a score needs to be called one.
	RatedFrom = 5

	// NewcomerAge is the age below which a rater is new, and weighs newcomerFactor.
	NewcomerAge    = 7 * 24 * time.Hour
	newcomerFactor = 0.25

	// anonymousFactor is what a rater weighs who proves nothing, and what all of them
	// together weigh at most.
	anonymousFactor = 0.5

	// NetworkWindow is the time in which a network counts once for an agent.
	NetworkWindow = 24 * time.Hour
	// MutualWindow is the time in which two ratings of two agents of each other are an
	// exchange of favours, and weigh MutualFactor.
	MutualWindow = 24 * time.Hour
	MutualFactor = 0.2

	// FlagWindow is the time in which a change of more than sudden raises a flag, and for
	// which the flag stays.
	FlagWindow = 24 * time.Hour
	sudden     = 0.2
)

package discovery

import "time"

const (
	// DefaultTimeout is the time for one lookup, all resolvers together.
	DefaultTimeout = 5 * time.Second
	// DefaultMaxTTL is how long a record is believed at most.
	DefaultMaxTTL = 5 * time.Minute
	// DefaultStale is how long behind its TTL a record serves while no resolver answers.
	DefaultStale = time.Hour
	// DefaultEntries is how many names are remembered.
	DefaultEntries = 10_000

	// minTTL is how long a record is believed at least: one with TTL 0 would have us ask
	// for every message.
	minTTL = time.Second
	// negativeTTL is how long the absence of a record is believed at most.
	negativeTTL = 30 * time.Second
	// failureTTL is how long nobody is asked again after no resolver answered.
	failureTTL = 5 * time.Second
	// staleTTL is the same while an old record serves.
	staleTTL = 30 * time.Second
	// tryFor is the time for one resolver while there is another try to come.
	tryFor = 1500 * time.Millisecond
	// rounds is how often a resolver is asked.
	rounds = 2
	// shunFor is how long a resolver that did not answer is asked last.
	shunFor = 30 * time.Second

	// udpSize is what we say we take by UDP: what passes every network in one piece.
	udpSize = 1232
	// maxAnswer is the longest answer that is looked at, in bytes. A longer one is said
	// to be none.
	maxAnswer = 4 << 10
	// maxAliases is how many CNAMEs lead to a record.
	maxAliases = 8
	// maxResolvers is how many resolvers there may be.
	maxResolvers = 16
)

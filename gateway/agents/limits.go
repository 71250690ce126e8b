package agents

import "time"

// Bounds of what an agent may be. What is beyond them is refused with a sentence.
const (
	MaxName        = 64
	MaxTarget      = 2048 // characters of a push target
	MaxHeaders     = 16
	MaxHeaderName  = 64
	MaxHeaderValue = 1024
	MaxSchemas     = 100
	MaxRole        = 64
	MaxDescription = 1024
	// MaxCapabilities is how many words say what an agent can do, of MaxCapability
	// characters each.
	MaxCapabilities = 64
	MaxCapability   = 64

	// KeyBytes are in a key that is made here: 43 characters.
	KeyBytes = 32
	// MinChosenKey is how many characters a key must have that somebody chose.
	MinChosenKey = 20
	MaxChosenKey = 256

	// RefreshEvery is how often the database is asked for changes that others made.
	RefreshEvery = 500 * time.Millisecond
	// LooksPerSecond is how often at most it is asked before RefreshEvery, because a name
	// or a key is not known. Strangers have no more than that of the database.
	LooksPerSecond = 20
	// LookWait is how long whoever is not known waits for its answer.
	LookWait = time.Second
	// TouchEvery is how often it learns when agents were last heard of.
	TouchEvery = 10 * time.Second
	// Active is how long an agent counts as active after it was heard of.
	Active = 30 * 24 * time.Hour
)

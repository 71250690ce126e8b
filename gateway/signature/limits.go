package signature

import "time"

const (
	// MinRSABits and MaxRSABits bound the keys that RS256 is verified with: shorter
	// ones can be broken, longer ones cost more than a message is worth.
	MinRSABits = 2048
	MaxRSABits = 8192

	// MaxKeyRecord is how long a key's record may be, in bytes.
	MaxKeyRecord = 4 << 10

	// MaxSelector is how long a selector may be: one label of DNS.
	MaxSelector = 63

	// NegativeTTL is how long it is remembered that a key could not be had.
	NegativeTTL = 30 * time.Second

	// DefaultTTL is how long a key is remembered where nothing else is configured
	// and its record does not say less.
	DefaultTTL = 5 * time.Minute

	// minTTL keeps a record with a TTL of zero from being asked for with each message.
	minTTL = 5 * time.Second

	// lookupTimeout bounds one lookup, for all that wait for it.
	lookupTimeout = 10 * time.Second

	// maxCached is how many keys are remembered.
	maxCached = 4096

	// maxKeyFile bounds a private key's file, in bytes.
	maxKeyFile = 16 << 10
)

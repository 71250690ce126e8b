package certificate

import "time"

const (
	// Life is how long a certificate holds.
	Life = 365 * 24 * time.Hour
	// Skew is how far a certificate or a list may be from the future, for clocks that differ.
	Skew = 10 * time.Minute
	// Stale is the age from which a revocation list proves nothing any more.
	Stale = 24 * time.Hour
	// NextUpdate is how soon after a revocation list the next is promised.
	NextUpdate = time.Hour

	// MaxText is the longest JSON form in bytes, armour included.
	MaxText = 16 << 10
	// MaxCompact is the longest compact form in bytes: what a knock has room for.
	MaxCompact = 1024
	// MaxList is the longest revocation list in bytes.
	MaxList = 16 << 20

	maxName   = 255 // bytes of an organisation's name
	maxDomain = 253 // RFC 1035 §2.3.4, without the last dot
	maxID     = 64  // bytes of an organisation's id
)

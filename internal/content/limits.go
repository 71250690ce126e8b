package content

import "time"

// Bounds of contents, fixed by the protocol (session.md §7 and §12), in bytes
// where nothing else is said.
const (
	MaxIntent          = 128
	MaxThread          = 64
	MaxContentType     = 128
	MaxFileName        = 255
	MaxReceiptText     = 200
	MaxTierCertificate = 1024
	MaxInvite          = 64
	MaxResume          = 16 // envelope ids in a request
	MaxIntents         = 255
	MaxPeerIDs         = 8
	MaxPeerID          = 255
	MaxAddresses       = 16
	MaxAddress         = 100
	MaxRelays          = 8
	MaxRelay           = 255
	MaxUfrag           = 64
	MaxICEPassword     = 64
	MaxCandidates      = 16
	MaxCandidate       = 200

	// MaxBody is the longest body of a message.
	MaxBody = 1 << 20
	// SliceSize is the longest body that travels as one message, and the length
	// of every slice of a longer one but the last.
	SliceSize = 43692
	// MaxParts is the number of slices of a body of MaxBody.
	MaxParts = 24
	// MaxDeadline is the longest time from a message's Created to its Deadline.
	MaxDeadline = 72 * time.Hour

	// RFC 8839 §5.4
	minUfrag       = 4
	minICEPassword = 22

	maxDescription = 1024
	signatureSize  = 64
	// A revocation's statement, without a successor and with one.
	revocationSize          = 128
	revocationSuccessorSize = 224
	// latest is the last second of the year 9999: later times are refused so
	// that sums of times never wrap around.
	latest = 253402300799
)

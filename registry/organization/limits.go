package organization

import "time"

const (
	// ChallengeLife is how long a challenge may be answered for the first time.
	ChallengeLife = 24 * time.Hour
	// CheckEvery is the time between two looks at the record of a verified organisation.
	CheckEvery = 24 * time.Hour
	// RetryEvery is the same while the resolvers know nothing.
	RetryEvery = time.Hour
	// FailedDays is how many looks in a row must miss the record before the
	// organisation is not verified any more.
	FailedDays = 2
	// UnknownLife is how long an organisation stays verified while nobody can say
	// whether the record is there.
	UnknownLife = 7 * 24 * time.Hour
	// OpenClaims is how many unanswered challenges one administrator may have.
	OpenClaims = 20
	// MaxMembers is how many agents an organisation may have.
	MaxMembers = 1000
	// RenewBefore is how long before its end a certificate is replaced.
	RenewBefore = 30 * 24 * time.Hour
	// CheckBatch is how many records are looked at in one go, CheckParallel how many of
	// them at the same time.
	CheckBatch    = 50
	CheckParallel = 10
	// ConsentLife is how long an organisation may take up the consent of an agent.
	ConsentLife = 30 * 24 * time.Hour

	// MaxName is the longest name of an organisation, in bytes.
	MaxName = 100
	// maxDomain is the longest domain, so that the name of its record still fits.
	maxDomain = 253 - len(recordLabel) - 1

	// challengeSize is the length of a challenge, in bytes.
	challengeSize = 32

	// attempts is how often a resolver is asked by UDP.
	attempts = 2
	// attemptTimeout is how long each of them may take, and one by TCP.
	attemptTimeout = time.Second
	// maxAliases is how many CNAMEs may follow each other.
	maxAliases = 4
	// udpSize is the longest answer by UDP that we ask for: it crosses every network
	// in one piece.
	udpSize = 1232
)

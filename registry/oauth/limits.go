package oauth

import "time"

const (
	// StateLife is how long a link may be used, from the agent's request to the
	// browser's return.
	StateLife = 10 * time.Minute
	// AgentsPerPerson is how many agents one account may vouch for, unless the
	// operator says otherwise.
	AgentsPerPerson = 20

	// providerTimeout is how long one request to a provider may take, its answer
	// included.
	providerTimeout = 10 * time.Second
	// maxAnswer is the longest answer of a provider that is read, in bytes.
	maxAnswer = 256 << 10
	// maxToken is the longest token that is looked at, in bytes.
	maxToken = 8 << 10
	// maxTokenHeader is the longest header of an ID token, in bytes of base64.
	maxTokenHeader = 1 << 10
	// maxCode is the longest authorization code, in bytes.
	maxCode = 2 << 10
	// maxDetail is how much of a failed check stands in an error, in characters.
	maxDetail = 300
	// maxSubject is the longest name of an account at its provider, in bytes. OpenID
	// Connect allows 255.
	maxSubject = 255
	// secretSize is the length of a state and of a browser's secret, in bytes.
	secretSize = 32
	// clockSkew is how far a provider's clock may be off.
	clockSkew = time.Minute
)

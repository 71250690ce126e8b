package auth

import "time"

// Bounds of what is read, kept and asked for.
const (
	// AdminFileSize is how many bytes an admin key file may have.
	AdminFileSize = 64 << 10
	// AdminReread is how old what was read of the admin key file may be.
	AdminReread = time.Second
	// KeySize is how many characters a key may have that is looked up at all.
	KeySize = 512
	// MaxKeyName is how many bytes the name of an API key may have.
	MaxKeyName = 100
	// KeysEvery is how often the API keys are read again, and WriteUsesEvery after how many
	// times it is written down which of them were used.
	KeysEvery      = 500 * time.Millisecond
	WriteUsesEvery = 20
	// TokenSize is how many bytes an access token may have.
	TokenSize = 16 << 10
	// AnswerSize is how many bytes the answer of an authorization server may have.
	AnswerSize = 256 << 10
	// MaxIssuerKeys is how many keys of an issuer are looked at.
	MaxIssuerKeys = 64

	// Leeway is how much an issuer's clock may differ from ours.
	Leeway = 30 * time.Second
	// KeysFresh is how long an issuer's keys are used without asking again.
	KeysFresh = 10 * time.Minute
	// KeysStale is how long they are used when the issuer does not answer.
	KeysStale = time.Hour
	// KeysPause is the time between two questions for them: tokens with made-up key ids
	// do not make the gateway ask more often.
	KeysPause = 10 * time.Second
	// AskTimeout bounds one question to an authorization server.
	AskTimeout = 5 * time.Second
	// IntrospectionFresh is how long a token that is active is believed without asking again,
	// and so how long one that was revoked may still be used.
	IntrospectionFresh = 30 * time.Second
	// IntrospectionRefused is how long a token that is not active is refused without asking.
	IntrospectionRefused = 10 * time.Second
	// MaxIntrospections is how many answers are remembered, and MaxAsking how many
	// questions are under way at once; beyond that callers are told to come back.
	MaxIntrospections = 10_000
	MaxAsking         = 16

	// AddressWait bounds the search for the addresses of a domain's gateway.
	AddressWait = 2 * time.Second
	// AddressFresh is how long the addresses of a domain's gateway are remembered,
	// AddressFailed how long that they could not be found.
	AddressFresh  = 5 * time.Minute
	AddressFailed = 30 * time.Second
	// MaxAddresses is how many domains' addresses are remembered.
	MaxAddresses = 10_000
)

package auth

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Kind says what sort of caller somebody is.
type Kind uint8

const (
	Nobody  Kind = iota // has shown nothing
	Admin               // an administrator of this gateway
	Agent               // a local agent, with its own key
	Client              // a program with an API key or an access token
	Gateway             // the gateway of another domain
)

func (k Kind) String() string {
	return [...]string{"nobody", "admin", "agent", "client", "gateway"}[k]
}

// Method is how somebody has shown who they are. The first four are the words of
// auth.methods in a configuration, where the agents' keys are among the API keys.
type Method string

const (
	ByAPIKey      Method = "apikey"
	ByOAuth       Method = "oauth"
	ByCertificate Method = "domain"
	BySignature   Method = "signature"
	ByAddress     Method = "address"
	ByAdminKey    Method = "admin"
)

// What the holder of an API key or of a token may do.
const (
	ScopeSend = "amtp:send" // send messages in the name of its domain or agent
	ScopeRead = "amtp:read" // read messages, states and lists of its domain or agent
)

// Scopes are all that an API key can have.
var Scopes = []string{ScopeSend, ScopeRead}

// Errors of everything here that looks at a key, a token or a certificate.
var (
	// ErrNone reports that the request shows nothing of the kind.
	ErrNone = errors.New("no credential")
	// ErrWrong reports a credential that is not valid here. Why, is not the caller's business.
	ErrWrong = errors.New("credential not accepted")
	// ErrExpired reports a credential that was valid.
	ErrExpired = errors.New("credential expired")
	// ErrNotConfigured reports that nobody can be let in by this way.
	ErrNotConfigured = errors.New("not configured")
	// ErrUnavailable reports that whoever knows could not be asked; it may be tried again.
	ErrUnavailable = errors.New("credential could not be checked")
)

// Caller is who stands behind a request, as far as it was proven. The zero value is somebody
// who has shown nothing.
type Caller struct {
	Kind   Kind
	Method Method
	// Agent is the one address in whose name the caller may speak, "" if it may in every
	// name of Domain.
	Agent string
	// Domain is the domain that was proven, in lower case; "" if none was.
	Domain string
	// Since is when a local agent got its name. What is older than that is of somebody else
	// who had it. Zero for others.
	Since time.Time
	// Scopes are what an API key or a token allows. Others need none.
	Scopes []string
	// ID names the key or the token's subject in logs and counts; it is no secret.
	ID string
}

// May reports whether the caller has a scope. Agents, gateways and administrators have all.
func (c Caller) May(scope string) bool {
	switch c.Kind {
	case Admin, Agent, Gateway:
		return true
	case Client:
		return slices.Contains(c.Scopes, scope)
	case Nobody:
	}
	return false
}

// SpeaksFor reports whether the caller may use the address of a local part and a domain. A
// local agent's name is compared without regard to case, since no two of them differ in case
// alone. An administrator speaks for nobody: the key of the console is not a sender.
func (c Caller) SpeaksFor(local, domain string) bool {
	if c.Kind == Nobody || c.Kind == Admin || c.Domain == "" || !strings.EqualFold(c.Domain, domain) {
		return false
	}
	name, _, one := strings.Cut(c.Agent, "@")
	return !one || name == local || c.Kind == Agent && strings.EqualFold(name, local)
}

// Proven is a gateway that proved to speak for a domain.
func Proven(domain string, by Method) Caller {
	return Caller{Kind: Gateway, Method: by, Domain: strings.ToLower(domain), ID: domain}
}

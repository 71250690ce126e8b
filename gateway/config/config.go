// Package config reads what a gateway is told: the YAML file, the AMTP_* variables
// and the key file of agentry, whose configurations start ours unchanged, and what is
// our own beside them.
//
// What is said later in this list beats what is said before: the defaults, the file,
// the environment, the command line. A value that cannot be right is an error that
// names its key and where it stood. A key that nobody knows is only a warning, because
// agentry has never looked at such, and files in use are full of them.
//
// The package reads no file and no variable by itself and opens nothing.
package config

import "time"

// Config is the whole of it. Every field has the default that its key has; see Load.
type Config struct {
	Server    Server
	TLS       TLS
	DNS       DNS
	Message   Message
	Auth      Auth
	Logging   Logging
	Storage   Storage
	Metrics   Metrics
	Schema    Schema
	Signature Signature
	Compat    Compat
	Delivery  Delivery
	Rates     Rates
	Outward   Outward

	// AdminOpenWhenUnconfigured lets everybody use the admin API while there is no file
	// of admin keys, as agentry does.
	AdminOpenWhenUnconfigured bool
	// PublicRead lets everybody read messages and their states by their ids.
	PublicRead bool
	// LocalSenderAuth says what becomes of a message that names an agent of ours as its
	// sender without that agent's key: Require, Flag or Off.
	LocalSenderAuth string
	// UnknownLocal says what becomes of a message to a name of our domain that nobody
	// has: Reject, or Pull, which keeps it for who registers the name.
	UnknownLocal string
	// StatusCodeMode says how POST /v1/messages answers: as agentry does, or with the
	// specification's 202. Values: ModeAgentry, ModeSpec.
	StatusCodeMode string
	// PushInternal lets agents' push targets be in private networks, on every port, and http.
	PushInternal bool
	// PublicAgents lets everybody list the agents that are here.
	PublicAgents bool
	// PeerCredentials is a file with what other gateways want to see of us beside a
	// signature.
	PeerCredentials string
	// OwnRecipients hides from who reads an inbox to whom else a message went.
	OwnRecipients bool
	// CORSOrigins are the origins whose pages may use the API; "*" is every one.
	CORSOrigins []string
}

// Server is the listener and its domain.
type Server struct {
	Address string // HOST:PORT
	// Domain is the one AMTP domain of the gateway, in lower case and without a dot at
	// its end.
	Domain string
	// PublicURL is where other gateways reach this one, as its record says.
	PublicURL   string
	ReadTimeout time.Duration
	// WriteTimeout counts where it is longer than gateway.Limits.WriteWait.
	WriteTimeout time.Duration
	IdleTimeout  time.Duration
	// TrustedProxies are prefixes whose X-Forwarded-For is believed.
	TrustedProxies []string
}

// TLS is the listener's encryption.
type TLS struct {
	Enabled    bool
	CertFile   string
	KeyFile    string
	MinVersion string // "1.2" or "1.3"
	// ClientCAFile has authorities, in PEM, whose client certificates prove a domain
	// beside those of the system. A client without a certificate is served all the same.
	ClientCAFile string
}

// DNS is how other domains' gateways are found.
type DNS struct {
	// CacheTTL bounds how long a record is kept; its own TTL may be shorter.
	CacheTTL time.Duration
	Timeout  time.Duration
	// Resolvers are HOST:PORT; none: those of the system.
	Resolvers []string
	// MockMode takes MockRecords, domain to TXT text, for the whole of the DNS; none: those
	// that agentry has.
	MockMode    bool
	MockRecords map[string]string
	// AllowHTTP takes gateways at http:// URLs too.
	AllowHTTP bool
}

// Message bounds messages.
type Message struct {
	MaxSize        int64 // bytes
	IdempotencyTTL time.Duration
	// ValidationEnabled changes nothing: messages are always checked.
	ValidationEnabled bool
	// DerivedWindow is how long two equal messages without an idempotency key count as
	// one; 0: never.
	DerivedWindow time.Duration
	// Lenient takes what older clients send that the protocol does not have, such as
	// message ids of version 4.
	Lenient bool
	// ReplyWindow is how long an answer waits for a reply to put into it, for clients that
	// do not say.
	ReplyWindow time.Duration
}

// Auth is who may do what.
type Auth struct {
	// RequireAuth refuses messages of other domains that prove nothing.
	RequireAuth       bool
	Methods           []string // of domain, apikey, oauth, cert, signature
	APIKeyHeader      string
	AdminKeyFile      string
	AdminAPIKeyHeader string
	// APIKeySalt is what agentry hashes agents' keys with; agents that were registered
	// with it keep their keys.
	APIKeySalt string
	OAuth      OAuth
}

// OAuth is an authority whose bearer tokens are taken. Without Issuer there is none.
type OAuth struct {
	Issuer string // URL
	// Audiences are this gateway's names in the issuer's tokens.
	Audiences []string
	// Domains are those in whose name the tokens may speak.
	Domains []string
	// JWKSURL is where the issuer's keys are; empty: where its discovery document says.
	JWKSURL string
	// IntrospectionURL is asked about tokens that are not JWTs, with the client's id and
	// secret.
	IntrospectionURL string
	ClientID         string
	ClientSecretFile string
}

// Logging is how much is logged, and in which form.
type Logging struct {
	Level  string // debug, info, warn or error
	Format string // json, text, or empty: as amesh's other verbs
	Access bool   // a line for every request
}

// Storage is where everything is kept.
type Storage struct {
	// Type is StorageMemory, StorageDatabase, or empty: Database if that is set, else a
	// file in the data folder.
	Type string
	// Database is the URL of a database, postgres://… or sqlite://PATH, made of
	// agentry's driver and connection_string.
	Database string
	// MaxConnections bounds the connections to PostgreSQL, and MaxIdleTime how long one
	// is kept unused; 0: the store's own bounds (store.Bounds).
	MaxConnections int
	MaxIdleTime    time.Duration
	// Retention is how long messages that have ended are kept.
	Retention time.Duration
}

// Metrics are the numbers for monitoring.
type Metrics struct {
	// Enabled serves /metrics on the gateway's own listener.
	Enabled bool
	// Address is a listener of their own, HOST:PORT; empty: none.
	Address string
	// RequireKey shows /metrics to administrators only.
	RequireKey bool
}

// Signature is how messages are signed for other domains, and those of others judged.
type Signature struct {
	PrivateKeyFile string
	KeyID          string
	VerifyPolicy   string // PolicyAccept, PolicyFlag or PolicyReject
}

// Compat is how far agentry is imitated.
type Compat struct {
	// Mode is empty, or ModeAgentry, which opens what is open in agentry: it changes
	// the defaults of other keys, each of which can still be set.
	Mode string
	// Agentry is DialectR, DialectN or DialectAuto. It changes nothing: what is sent to other
	// gateways is read by both dialects.
	Agentry string
}

// Delivery is how long is tried what fails.
type Delivery struct {
	// FirstRetry is the pause after the first failure, which then doubles up to
	// LongestRetry; after GiveUp the message is a dead letter.
	FirstRetry   time.Duration
	LongestRetry time.Duration
	GiveUp       time.Duration
	// Timeout is that of one request to a peer or an agent.
	Timeout time.Duration
	// Workers is how many deliveries are under way at a time.
	Workers int
}

// Rates bound messages; 0 in a second, or in an hour: no bound.
type Rates struct {
	UnknownPerHour   int // of a domain that proves nothing and is not known
	DomainPerSecond  int // of a known domain
	DomainBurst      int
	SenderPerSecond  int // of one address
	SenderBurst      int
	AgentPerSecond   int // to one local agent
	AgentBurst       int
	AddressPerSecond int // from one network address that has proven nothing yet
	AddressBurst     int
}

// Outward is which addresses a URL that others name may lead to.
type Outward struct {
	// AllowPrivate lets every address be contacted, private ones too.
	AllowPrivate bool
	// Allow are prefixes that may be contacted though they are private, on every port.
	Allow []string
	// Ports are those that may be contacted elsewhere.
	Ports []string
	// Proxy is the URL of a proxy, or "auto" for that of the environment. Empty is none:
	// behind a proxy it is the proxy that resolves names, and has to refuse private
	// addresses.
	Proxy string
}

// Schema is how payloads are checked against AGNTCY schemas.
type Schema struct {
	RegistryType   string // RegistryLocal, RegistryDatabase, RegistryHTTP or RegistryNone
	Local          LocalRegistry
	HTTP           HTTPRegistry
	Cache          SchemaCache
	Validation     Validation
	Negotiation    Negotiation
	Compatibility  Compatibility
	Pipeline       Pipeline
	ErrorReporting ErrorReporting
	// TrustedSenders are patterns of senders whose payloads are not checked.
	TrustedSenders []string
}

// LocalRegistry is a folder of schemas.
type LocalRegistry struct {
	BasePath   string
	IndexFile  string
	AutoSave   bool
	CreateDirs bool
}

// HTTPRegistry is a registry of schemas elsewhere.
type HTTPRegistry struct {
	BaseURL    string
	Timeout    time.Duration
	Headers    map[string]string
	AuthToken  string
	RetryCount int
	// KeyFile has the public keys, in PEM, one of which must have signed what is
	// fetched.
	KeyFile string
	// AllowUnsigned takes schemas without a signature. One without a key is refused else.
	AllowUnsigned bool
	TLS           RegistryTLS
}

// RegistryTLS is how an HTTPRegistry is known, and we to it.
type RegistryTLS struct {
	InsecureSkipVerify bool
	CertFile           string
	KeyFile            string
	CAFile             string
}

// SchemaCache bounds what is remembered of schemas.
type SchemaCache struct {
	Type       string // "memory"; there is no other kind
	DefaultTTL time.Duration
	MaxSize    int // entries
	// CleanupInterval, ConnectionString and Options are for agentry's other kinds. They
	// change nothing.
	CleanupInterval  time.Duration
	ConnectionString string
	Options          map[string]string
}

// Validation is how strict a check is.
type Validation struct {
	Enabled           bool
	StrictMode        bool
	Timeout           time.Duration
	MaxPayloadSize    int64 // bytes
	AllowUnknownProps bool
}

// Negotiation is what is done about a version that is not there.
type Negotiation struct {
	Enabled          bool
	FallbackStrategy string // latest, previous or fail
	MaxVersionDrift  int
}

// Compatibility is what a new definition of a schema may change.
type Compatibility struct {
	Enabled    bool
	StrictMode bool
	Mode       string // none, backward, forward or full
}

// Pipeline is whether payloads are checked at all.
type Pipeline struct {
	Enabled bool
	// ParallelValidation changes nothing: messages are always checked beside one another.
	ParallelValidation bool
}

// ErrorReporting is how much of a payload an error of agentry's shows. It changes nothing:
// ours show the value that is wrong where it is short.
type ErrorReporting struct {
	Enabled        bool
	IncludePayload bool
}

// Values of keys that have a few.
const (
	Require = "require"
	Flag    = "flag"
	Off     = "off"

	Reject = "reject"
	Pull   = "pull"

	ModeAgentry = "agentry"
	ModeSpec    = "spec"
	modeNone    = "none" // of Compat.Mode, which is empty then

	DialectR    = "r"
	DialectN    = "n"
	DialectAuto = "auto"

	PolicyAccept = "accept"
	PolicyFlag   = "flag"
	PolicyReject = "reject"

	StorageMemory   = "memory"
	StorageDatabase = "database"

	RegistryLocal    = "local"
	RegistryDatabase = "database"
	RegistryHTTP     = "http"
	RegistryNone     = "none"
)

package config

import "time"

// Numbers of a gateway that is told nothing else.
const (
	maxSize        = 10 << 20 // bytes, as agentry's
	idempotencyTTL = 7 * 24 * time.Hour
	derivedWindow  = 5 * time.Minute
	agentryWindow  = 24 * time.Hour // for which agentry takes equal messages for one
	retention      = 30 * 24 * time.Hour
	giveUp         = 7 * 24 * time.Hour
)

// LargestMessage is the most that message.max_size may be, in bytes: half of what all requests
// of a gateway may hold in memory at a time.
const LargestMessage = 128 << 20

// Defaults is the configuration of a gateway that is told nothing but its Compat.Mode.
// Without one, everything that could be open is closed.
func Defaults(mode string) Config {
	c := Config{
		Server: Server{Address: ":8443", Domain: "localhost", ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute},
		TLS:    TLS{Enabled: true, MinVersion: "1.3"},
		DNS:    DNS{CacheTTL: 5 * time.Minute, Timeout: 5 * time.Second},
		Message: Message{
			MaxSize: maxSize, IdempotencyTTL: idempotencyTTL, ValidationEnabled: true, DerivedWindow: derivedWindow, Lenient: true,
		},
		Auth: Auth{
			Methods: []string{"domain", "apikey"}, APIKeyHeader: "X-API-Key", AdminAPIKeyHeader: "X-Admin-Key",
		},
		Logging:   Logging{Level: "info"},
		Storage:   Storage{Retention: retention},
		Schema:    schemaDefaults(),
		Signature: Signature{KeyID: "k1", VerifyPolicy: PolicyFlag},
		Compat:    Compat{Mode: mode, Agentry: DialectAuto},
		Delivery:  Delivery{FirstRetry: time.Second, LongestRetry: time.Hour, GiveUp: giveUp, Timeout: 10 * time.Second, Workers: 512},
		Rates: Rates{
			UnknownPerHour: 60, DomainPerSecond: 200, DomainBurst: 2000,
			SenderPerSecond: 2000, SenderBurst: 20_000, AgentPerSecond: 2000, AgentBurst: 20_000,
			AddressPerSecond: 500, AddressBurst: 5000,
		},
		LocalSenderAuth: Require, UnknownLocal: Reject, StatusCodeMode: ModeAgentry,
	}
	if mode == ModeAgentry {
		c.imitateAgentry()
	}
	return c
}

// imitateAgentry opens what is open in agentry, so that the commands of its README work
// as they stand.
func (c *Config) imitateAgentry() {
	c.AdminOpenWhenUnconfigured = true
	c.PublicRead, c.PublicAgents = true, true
	c.LocalSenderAuth = Off
	c.UnknownLocal = Pull
	c.CORSOrigins = []string{"*"}
	c.Rates = Rates{}
	c.Message.Lenient, c.Message.DerivedWindow = false, agentryWindow
	c.Logging.Format, c.Logging.Access = "json", true
	c.Schema.RegistryType = RegistryNone
	c.Schema.Compatibility.Enabled = false
	c.Schema.HTTP.AllowUnsigned = true
	c.PushInternal = true
}

func schemaDefaults() Schema {
	return Schema{
		RegistryType:   RegistryDatabase,
		Local:          LocalRegistry{IndexFile: "index.json"},
		HTTP:           HTTPRegistry{Timeout: 30 * time.Second, RetryCount: 3},
		Cache:          SchemaCache{Type: "memory", DefaultTTL: time.Minute, MaxSize: 4096, CleanupInterval: 10 * time.Minute},
		Validation:     Validation{Enabled: true, Timeout: time.Second, MaxPayloadSize: maxSize, AllowUnknownProps: true},
		Negotiation:    Negotiation{FallbackStrategy: "latest", MaxVersionDrift: 3},
		Compatibility:  Compatibility{Enabled: true, Mode: "backward"},
		Pipeline:       Pipeline{Enabled: true, ParallelValidation: true},
		ErrorReporting: ErrorReporting{Enabled: true},
	}
}

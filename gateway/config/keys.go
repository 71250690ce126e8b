package config

import "strings"

// OwnPrefix and AgentryPrefix begin the variables of every key: those of a.b_c are
// AMESH_GATEWAY_A_B_C and AMTP_A_B_C.
const (
	OwnPrefix     = "AMESH_GATEWAY_"
	AgentryPrefix = "AMTP_"
)

// key is one thing that can be told.
type key struct {
	name string // in the file, with a dot for each section
	at   any    // *string, *bool, *int, *int64, *time.Duration, *[]string or *map[string]string
	// env are agentry's variables that are not named after the key.
	env []string
	// oneOf are the values of a text that has a few.
	oneOf []string
	// zero says that a number or duration may be 0.
	zero bool
	// seconds says that a bare number of a duration is seconds.
	seconds bool
}

// variables are the key's, the strongest first.
func (k key) variables() []string {
	name := strings.ToUpper(strings.ReplaceAll(k.name, ".", "_"))
	return append(append([]string{OwnPrefix + name}, k.env...), AgentryPrefix+name)
}

// given are values that become something else when everything is read.
type given struct {
	driver, connection string
	version            string // of the file; agentry looks at nothing of it
	useLocal           bool   // agentry's old way to say schema.registry_type: local
}

// keys are all there are, each bound to its place in c or g.
func keys(c *Config, g *given) []key {
	all := []key{
		{name: "version", at: &g.version},
		{name: "server.address", at: &c.Server.Address},
		{name: "server.domain", at: &c.Server.Domain, env: []string{"AMTP_DOMAIN"}},
		{name: "server.public_url", at: &c.Server.PublicURL},
		{name: "server.read_timeout", at: &c.Server.ReadTimeout, env: []string{"AMTP_READ_TIMEOUT"}},
		{name: "server.write_timeout", at: &c.Server.WriteTimeout, env: []string{"AMTP_WRITE_TIMEOUT"}},
		{name: "server.idle_timeout", at: &c.Server.IdleTimeout, env: []string{"AMTP_IDLE_TIMEOUT"}},
		{name: "server.trusted_proxies", at: &c.Server.TrustedProxies},
		{name: "tls.enabled", at: &c.TLS.Enabled},
		{name: "tls.cert_file", at: &c.TLS.CertFile},
		{name: "tls.key_file", at: &c.TLS.KeyFile},
		{name: "tls.min_version", at: &c.TLS.MinVersion, oneOf: []string{"1.2", "1.3"}},
		{name: "tls.client_ca_file", at: &c.TLS.ClientCAFile},
		{name: "dns.cache_ttl", at: &c.DNS.CacheTTL},
		{name: "dns.timeout", at: &c.DNS.Timeout},
		{name: "dns.resolvers", at: &c.DNS.Resolvers},
		{name: "dns.mock_mode", at: &c.DNS.MockMode},
		{name: "dns.mock_records", at: &c.DNS.MockRecords},
		{name: "dns.allow_http", at: &c.DNS.AllowHTTP},
		{name: "message.max_size", at: &c.Message.MaxSize},
		{name: "message.idempotency_ttl", at: &c.Message.IdempotencyTTL, env: []string{"AMTP_IDEMPOTENCY_TTL"}},
		{name: "message.validation_enabled", at: &c.Message.ValidationEnabled},
		{name: "message.derived_window", at: &c.Message.DerivedWindow, zero: true},
		{name: "message.lenient", at: &c.Message.Lenient},
		{name: "message.reply_window", at: &c.Message.ReplyWindow, zero: true},
		{name: "logging.level", at: &c.Logging.Level, env: []string{"AMTP_LOG_LEVEL"}, oneOf: []string{"debug", "info", "warn", "error"}},
		{name: "logging.format", at: &c.Logging.Format, env: []string{"AMTP_LOG_FORMAT"}, oneOf: []string{"json", "text"}},
		{name: "logging.access", at: &c.Logging.Access, env: []string{"AMTP_LOG_ACCESS"}},
		{name: "metrics.enabled", at: &c.Metrics.Enabled},
		{name: "metrics.address", at: &c.Metrics.Address},
		{name: "metrics.require_key", at: &c.Metrics.RequireKey},
		{name: "signature.private_key_file", at: &c.Signature.PrivateKeyFile},
		{name: "signature.key_id", at: &c.Signature.KeyID},
		{name: "signature.verify_policy", at: &c.Signature.VerifyPolicy, oneOf: policies},
		{name: "verify_policy", at: &c.Signature.VerifyPolicy, oneOf: policies},
	}
	all = append(all, authKeys(c)...)
	all = append(all, storageKeys(c, g)...)
	all = append(all, schemaKeys(&c.Schema, g)...)
	return append(all, ownKeys(c)...)
}

// Keys are the names of all keys, in the order of the file.
func Keys() []string {
	var names []string
	for _, k := range keys(new(Config), new(given)) {
		names = append(names, k.name)
	}
	return names
}

var policies = []string{PolicyAccept, PolicyFlag, PolicyReject}

func authKeys(c *Config) []key {
	a := &c.Auth
	return []key{
		{name: "auth.require_auth", at: &a.RequireAuth, env: []string{"AMTP_AUTH_REQUIRED"}},
		{name: "auth.methods", at: &a.Methods},
		{name: "auth.api_key_header", at: &a.APIKeyHeader},
		{name: "auth.admin_key_file", at: &a.AdminKeyFile, env: []string{"AMTP_ADMIN_KEY_FILE"}},
		{name: "auth.admin_api_key_header", at: &a.AdminAPIKeyHeader, env: []string{"AMTP_ADMIN_API_KEY_HEADER"}},
		{name: "auth.api_key_salt", at: &a.APIKeySalt},
		{name: "auth.oauth.issuer", at: &a.OAuth.Issuer},
		{name: "auth.oauth.audiences", at: &a.OAuth.Audiences},
		{name: "auth.oauth.domains", at: &a.OAuth.Domains},
		{name: "auth.oauth.jwks_url", at: &a.OAuth.JWKSURL},
		{name: "auth.oauth.introspection_url", at: &a.OAuth.IntrospectionURL},
		{name: "auth.oauth.client_id", at: &a.OAuth.ClientID},
		{name: "auth.oauth.client_secret_file", at: &a.OAuth.ClientSecretFile},
	}
}

func storageKeys(c *Config, g *given) []key {
	s := &c.Storage
	return []key{
		{name: "storage.type", at: &s.Type, oneOf: []string{StorageMemory, StorageDatabase}},
		{name: "storage.database.driver", at: &g.driver},
		{name: "storage.database.connection_string", at: &g.connection},
		{name: "storage.database.url", at: &s.Database},
		{name: "storage.database.max_connections", at: &s.MaxConnections, env: []string{"AMTP_STORAGE_DATABASE_MAX_CONNS"}, zero: true},
		{name: "storage.database.max_idle_time", at: &s.MaxIdleTime, zero: true, seconds: true},
		{name: "storage.retention", at: &s.Retention},
	}
}

func schemaKeys(s *Schema, g *given) []key {
	kinds := []string{RegistryLocal, RegistryDatabase, RegistryHTTP, RegistryNone}
	return []key{
		{name: "schema.registry_type", at: &s.RegistryType, oneOf: kinds},
		{name: "schema.use_local_registry", at: &g.useLocal},
		{name: "schema.local_registry.base_path", at: &s.Local.BasePath, env: []string{"AMTP_SCHEMA_REGISTRY_PATH"}},
		{name: "schema.local_registry.index_file", at: &s.Local.IndexFile},
		{name: "schema.local_registry.auto_save", at: &s.Local.AutoSave},
		{name: "schema.local_registry.create_dirs", at: &s.Local.CreateDirs},
		{name: "schema.registry.base_url", at: &s.HTTP.BaseURL, env: []string{"AMTP_SCHEMA_REGISTRY_URL"}},
		{name: "schema.registry.timeout", at: &s.HTTP.Timeout},
		{name: "schema.registry.headers", at: &s.HTTP.Headers},
		{name: "schema.registry.auth_token", at: &s.HTTP.AuthToken},
		{name: "schema.registry.retry_count", at: &s.HTTP.RetryCount, zero: true},
		{name: "schema.registry.key_file", at: &s.HTTP.KeyFile},
		{name: "schema.registry.allow_unsigned", at: &s.HTTP.AllowUnsigned},
		{name: "schema.registry.tls.insecure_skip_verify", at: &s.HTTP.TLS.InsecureSkipVerify},
		{name: "schema.registry.tls.cert_file", at: &s.HTTP.TLS.CertFile},
		{name: "schema.registry.tls.key_file", at: &s.HTTP.TLS.KeyFile},
		{name: "schema.registry.tls.ca_file", at: &s.HTTP.TLS.CAFile},
		{name: "schema.cache.type", at: &s.Cache.Type},
		{name: "schema.cache.default_ttl", at: &s.Cache.DefaultTTL},
		{name: "schema.cache.max_size", at: &s.Cache.MaxSize},
		{name: "schema.cache.cleanup_interval", at: &s.Cache.CleanupInterval},
		{name: "schema.cache.connection_string", at: &s.Cache.ConnectionString},
		{name: "schema.cache.options", at: &s.Cache.Options},
		{name: "schema.validation.enabled", at: &s.Validation.Enabled},
		{name: "schema.validation.strict_mode", at: &s.Validation.StrictMode},
		{name: "schema.validation.timeout", at: &s.Validation.Timeout},
		{name: "schema.validation.max_payload_size", at: &s.Validation.MaxPayloadSize},
		{name: "schema.validation.allow_unknown_props", at: &s.Validation.AllowUnknownProps},
		{name: "schema.negotiation.enabled", at: &s.Negotiation.Enabled},
		{name: "schema.negotiation.fallback_strategy", at: &s.Negotiation.FallbackStrategy, oneOf: []string{"latest", "previous", "fail"}},
		{name: "schema.negotiation.max_version_drift", at: &s.Negotiation.MaxVersionDrift, zero: true},
		{name: "schema.compatibility.enabled", at: &s.Compatibility.Enabled},
		{name: "schema.compatibility.strict_mode", at: &s.Compatibility.StrictMode},
		{name: "schema.compatibility.mode", at: &s.Compatibility.Mode, oneOf: []string{"none", "backward", "forward", "full"}},
		{name: "schema.pipeline.enabled", at: &s.Pipeline.Enabled},
		{name: "schema.pipeline.parallel_validation", at: &s.Pipeline.ParallelValidation},
		{name: "schema.error_reporting.enabled", at: &s.ErrorReporting.Enabled},
		{name: "schema.error_reporting.include_payload", at: &s.ErrorReporting.IncludePayload},
		{name: "schema.trusted_senders", at: &s.TrustedSenders},
	}
}

// ownKeys are those that agentry does not have.
func ownKeys(c *Config) []key {
	return []key{
		{name: "compat.mode", at: &c.Compat.Mode, env: []string{OwnPrefix + "COMPAT"}, oneOf: []string{ModeAgentry, modeNone}},
		{name: "compat.agentry", at: &c.Compat.Agentry, oneOf: []string{DialectR, DialectN, DialectAuto}},
		{name: "admin.open_when_unconfigured", at: &c.AdminOpenWhenUnconfigured},
		{name: "messages.public_read", at: &c.PublicRead},
		{name: "local_sender_auth", at: &c.LocalSenderAuth, oneOf: []string{Require, Flag, Off}},
		{name: "unknown_local", at: &c.UnknownLocal, oneOf: []string{Reject, Pull}},
		{name: "status_code_mode", at: &c.StatusCodeMode, oneOf: []string{ModeAgentry, ModeSpec}},
		{name: "cors.origins", at: &c.CORSOrigins},
		{name: "delivery.first_retry", at: &c.Delivery.FirstRetry},
		{name: "delivery.longest_retry", at: &c.Delivery.LongestRetry},
		{name: "delivery.give_up", at: &c.Delivery.GiveUp},
		{name: "delivery.timeout", at: &c.Delivery.Timeout},
		{name: "delivery.workers", at: &c.Delivery.Workers},
		{name: "rates.unknown_per_hour", at: &c.Rates.UnknownPerHour, zero: true},
		{name: "rates.domain_per_second", at: &c.Rates.DomainPerSecond, zero: true},
		{name: "rates.domain_burst", at: &c.Rates.DomainBurst, zero: true},
		{name: "rates.sender_per_second", at: &c.Rates.SenderPerSecond, zero: true},
		{name: "rates.sender_burst", at: &c.Rates.SenderBurst, zero: true},
		{name: "rates.agent_per_second", at: &c.Rates.AgentPerSecond, zero: true},
		{name: "rates.agent_burst", at: &c.Rates.AgentBurst, zero: true},
		{name: "rates.address_per_second", at: &c.Rates.AddressPerSecond, zero: true},
		{name: "rates.address_burst", at: &c.Rates.AddressBurst, zero: true},
		{name: "outward.allow_private", at: &c.Outward.AllowPrivate},
		{name: "outward.allow", at: &c.Outward.Allow},
		{name: "outward.ports", at: &c.Outward.Ports},
		{name: "outward.proxy", at: &c.Outward.Proxy},
		{name: "discovery.public", at: &c.PublicAgents},
		{name: "inbox.own_recipients", at: &c.OwnRecipients},
		{name: "peers.credentials_file", at: &c.PeerCredentials},
		{name: "push.internal", at: &c.PushInternal},
	}
}

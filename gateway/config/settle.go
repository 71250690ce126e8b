package config

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Bounds of a domain name, RFC 1035.
const (
	longestDomain = 253
	longestLabel  = 63
)

// settle works out what depends on several keys.
func (l *loader) settle(c *Config) {
	c.Server.Domain = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(c.Server.Domain), "."))
	l.settleStorage(c)
	l.settleDNS(&c.DNS)
	l.settleSchema(&c.Schema)
	if c.Auth.OAuth.Issuer != "" && !slices.Contains(c.Auth.Methods, "oauth") {
		if l.set["auth.methods"] {
			l.warn("auth.oauth.issuer: its tokens do not count, because auth.methods leaves oauth out")
		} else {
			c.Auth.Methods = append(c.Auth.Methods, "oauth")
		}
	}
}

func (l *loader) settleStorage(c *Config) {
	s := &c.Storage
	if s.Database == "" && l.given.connection != "" {
		u, err := DatabaseURL(l.given.driver, l.given.connection)
		if err != nil {
			l.wrong("storage.database: %w", err)
			return
		}
		s.Database = u
	}
	// A connection string where the URL belongs would be the name of a file.
	if strings.Contains(s.Database, "dbname=") && !strings.Contains(s.Database, "://") {
		u, err := DatabaseURL("", s.Database)
		if err != nil {
			l.wrong("storage.database.url: %w", err)
			return
		}
		s.Database = u
	}
	switch {
	case s.Type == StorageDatabase && s.Database == "":
		l.wrong("storage.type is database: want storage.database.connection_string (AMTP_STORAGE_DATABASE_CONNECTION_STRING), or --database URL")
	case s.Database != "" && l.set["storage.database.url"]:
		s.Type = StorageDatabase // a URL is only ever given to be used
	case s.Type == StorageMemory && s.Database != "" && l.set["storage.type"]:
		l.warn("storage.type is memory: storage.database is not used, and messages are gone when the gateway ends")
		s.Database = ""
	case s.Database != "":
		s.Type = StorageDatabase
	}
}

func (l *loader) settleDNS(d *DNS) {
	for i, r := range d.Resolvers {
		if _, err := netip.ParseAddr(r); err == nil {
			d.Resolvers[i] = net.JoinHostPort(r, "53")
		} else if host, _, err := net.SplitHostPort(r); err != nil || host == "" {
			l.wrong("dns.resolvers: %.60q: want an address such as 9.9.9.9:53", r)
		}
	}
}

func (l *loader) settleSchema(s *Schema) {
	if !l.set["schema.registry_type"] {
		switch {
		case l.given.useLocal, s.Local.BasePath != "":
			s.RegistryType = RegistryLocal
		case s.HTTP.BaseURL != "":
			s.RegistryType = RegistryHTTP
		}
	}
	switch {
	case s.RegistryType == RegistryLocal && s.Local.BasePath == "":
		l.warn("schema.local_registry.base_path (AMTP_SCHEMA_REGISTRY_PATH) is not set: schemas are kept in the gateway's database")
		s.RegistryType = RegistryDatabase
	case s.RegistryType == RegistryHTTP && s.HTTP.BaseURL == "":
		l.wrong("schema.registry_type is http: want schema.registry.base_url (AMTP_SCHEMA_REGISTRY_URL)")
	}
	if s.Cache.Type != "memory" {
		l.warn("schema.cache.type %.40q: schemas are cached in memory", s.Cache.Type)
		s.Cache.Type = "memory"
	}
}

// check looks at what was not looked at when it was read.
func (l *loader) check(c *Config) {
	l.checkDomain(c.Server.Domain)
	l.checkAddress("server.address", c.Server.Address)
	if c.Metrics.Address != "" {
		l.checkAddress("metrics.address", c.Metrics.Address)
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		l.wrong("tls.cert_file and tls.key_file belong together")
	}
	l.checkPrefixes("server.trusted_proxies", c.Server.TrustedProxies)
	l.checkPrefixes("outward.allow", c.Outward.Allow)
	methods := []string{"domain", "apikey", "oauth", "cert", "signature", "none"}
	for _, m := range c.Auth.Methods {
		if !slices.Contains(methods, m) {
			l.wrong("auth.methods: %.40q: want %s", m, either(methods))
		}
	}
	l.checkHeaders(c.Auth)
	if c.Message.MaxSize > LargestMessage {
		l.wrong("message.max_size: %d: want at most %d, since a message is held in memory", c.Message.MaxSize, LargestMessage)
	}
	if c.Delivery.FirstRetry > c.Delivery.LongestRetry {
		l.wrong("delivery.first_retry: want no more than delivery.longest_retry, %s", c.Delivery.LongestRetry)
	}
	l.checkURL("server.public_url", c.Server.PublicURL)
	if u, err := url.Parse(c.Server.PublicURL); err == nil && u.Scheme == "http" && !c.DNS.AllowHTTP {
		l.wrong("server.public_url: want https://, because other gateways take nothing else; dns.allow_http=true is for gateways that know each other")
	}
	l.checkURL("schema.registry.base_url", c.Schema.HTTP.BaseURL)
	l.checkURL("auth.oauth.issuer", c.Auth.OAuth.Issuer)
	l.checkURL("auth.oauth.jwks_url", c.Auth.OAuth.JWKSURL)
	l.checkURL("auth.oauth.introspection_url", c.Auth.OAuth.IntrospectionURL)
	if o := c.Auth.OAuth; o.Issuer != "" && (len(o.Audiences) == 0 || len(o.Domains) == 0) {
		l.wrong("auth.oauth: want audiences, this gateway's names in the tokens, and domains, in whose name they may speak")
	}
}

// checkHeaders keeps apart where the keys of administrators, and those of all others, stand.
func (l *loader) checkHeaders(a Auth) {
	if strings.EqualFold(a.AdminAPIKeyHeader, "Authorization") {
		l.wrong("auth.admin_api_key_header: Authorization is for agents' keys and for tokens: want a header of its own, such as X-Admin-Key")
	}
	if strings.EqualFold(a.AdminAPIKeyHeader, a.APIKeyHeader) {
		l.wrong("auth.api_key_header: %.40q is auth.admin_api_key_header too: want two headers", a.APIKeyHeader)
	}
}

// checkDomain is agentry's rule.
func (l *loader) checkDomain(domain string) {
	const source = "server.domain"
	switch {
	case domain == "":
		l.wrong("%s: it is empty", source)
		return
	case len(domain) > longestDomain:
		l.wrong("%s: it has %d letters, want at most %d", source, len(domain), longestDomain)
		return
	case strings.Contains(domain, "_"):
		l.wrong("%s: %q: want no underscore", source, domain)
		return
	}
	for label := range strings.SplitSeq(domain, ".") {
		if !labelFits(label) {
			l.wrong("%s: %q: want labels of letters, digits and dashes, at most %d long, no dash at an end", source, domain, longestLabel)
			return
		}
	}
	if net.ParseIP(domain) != nil {
		l.warn("%s: %s is an address: other gateways cannot find it, because there is no DNS record for it", source, domain)
	}
}

func labelFits(label string) bool {
	for _, r := range label {
		if r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return label != "" && len(label) <= longestLabel && label[0] != '-' && label[len(label)-1] != '-'
}

func (l *loader) checkAddress(source, addr string) {
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
		l.wrong("%s: %.60q: want HOST:PORT, such as :8443", source, addr)
	}
}

func (l *loader) checkPrefixes(source string, all []string) {
	for _, p := range all {
		if _, err := netip.ParsePrefix(p); err == nil {
			continue
		}
		if _, err := netip.ParseAddr(p); err != nil {
			l.wrong("%s: %.60q: want a prefix such as 10.0.0.0/8", source, p)
		}
	}
}

func (l *loader) checkURL(source, text string) {
	if text == "" {
		return
	}
	if u, err := url.Parse(text); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		l.wrong("%s: want an http:// or https:// URL", source)
	}
}

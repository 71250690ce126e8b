package gateway

import (
	"cmp"
	"errors"
	"math"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/discovery"
	"amesh/gateway/peer"
	"amesh/internal/prefix"
)

// capabilitiesSubject says which gateway a domain has.
func (s *Server) capabilitiesSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodGet, path: "/v1/capabilities/{domain}", may: anyone, answer: s.capabilities})
}

// Features are what the record of a gateway of ours names, beside how it is reached.
func Features() []string {
	return []string{"agent-discovery", "schema-validation", peer.FeaturePerRecipient}
}

// newDiscovery is the resolver of the gateway, which knows its own domain by what the
// operator says of it.
func newDiscovery(cfg Config) (*discovery.Resolver, error) {
	d := cfg.Discovery
	d.Own.Version = amtp.Version
	d.Own.Gateway = cmp.Or(d.Own.Gateway, "https://"+cfg.Domain)
	d.Own.MaxSize = cmp.Or(d.Own.MaxSize, cfg.Limits.MessageBytes)
	if d.Own.Features == nil {
		d.Own.Features = Features()
	}
	return discovery.New(d)
}

// capabilities are what a domain's record says: GET /v1/capabilities/{domain}. Whoever is
// nobody here may have what is known already, and few lookups: the gateway is not
// everybody's DNS.
func (s *Server) capabilities(r *request) (reply, error) {
	domain := r.PathValue("domain")
	found, known, err := s.discovery.Known(domain)
	if !known {
		if err := s.mayLookUp(r); err != nil {
			return reply{}, err
		}
		found, err = s.discovery.Lookup(r.Context(), domain)
	}
	if e, ok := errors.AsType[*discovery.LookupError](err); ok {
		if e.Temporary() {
			s.log.Debug("lookup failed", "domain", domain, "err", e.Detail)
		}
		return reply{}, amtp.Errorf(http.StatusNotFound, amtp.CodeCapabilitiesNotFound, "AMTP capabilities not found for domain: %s", e.Text).
			With("domain", domain).With("reason", e.Code).With("temporary", e.Temporary())
	}
	if err != nil {
		return reply{}, err
	}
	if name, err := amtp.ParseDomain(domain); err == nil && name == s.cfg.Domain {
		found.Schemas = r.agents.Schemas()
	}
	return reply{body: struct {
		Version    string        `json:"version"`
		Gateway    string        `json:"gateway"`
		Schemas    []string      `json:"schemas,omitempty"`
		Auth       []string      `json:"auth,omitempty"`
		MaxSize    int64         `json:"max_size,omitempty"`
		Features   []string      `json:"features,omitempty"`
		Discovered time.Time     `json:"discovered_at"`
		TTL        time.Duration `json:"ttl"` // in nanoseconds
	}{found.Version, found.Gateway, found.Schemas, found.Auth, found.MaxSize, found.Features, found.Discovered.UTC(), found.TTL}}, nil
}

// mayLookUp lets administrators and those who are known ask for any domain, and takes a
// stranger's question from the budgets of strangers.
func (s *Server) mayLookUp(r *request) error {
	if s.admins(r) == nil {
		return nil
	}
	if by, err := s.caller(r); err == nil && by.Kind != auth.Nobody {
		return nil
	}
	return s.strangers.take(r)
}

// lookups are the budgets of strangers who ask for domains that are not known yet.
type lookups struct {
	each  *prefix.Rate
	all   *rate.Limiter
	retry time.Duration
}

func newLookups(l Limits, now time.Time) lookups {
	return lookups{
		each:  prefix.NewRate(float64(l.LookupsPerAddress)/60, l.LookupsPerAddress, now),
		all:   rate.NewLimiter(rate.Limit(float64(l.Lookups)/60), l.Lookups),
		retry: time.Duration(math.Ceil(60/float64(l.LookupsPerAddress))) * time.Second,
	}
}

func (l lookups) take(r *request) error {
	if l.each.Take(r.from, 1, r.now) && l.all.AllowN(r.now, 1) {
		return nil
	}
	e := amtp.Errorf(http.StatusTooManyRequests, amtp.CodeRateLimitExceeded, "too many lookups of domains: wait, or show a key of an agent or an administrator")
	e.RetryAfter = l.retry
	return e
}

package main

import (
	"cmp"
	"net"
	"net/netip"
	"net/url"
	"strconv"

	"amesh/gateway/amtp"
	"amesh/gateway/config"
	"amesh/gateway/schema"
	"amesh/internal/outward"
	"amesh/internal/proxy"
)

// everywhere are all addresses there are.
var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// outwardConfigs say whom the gateway may contact: other gateways, and the push targets
// of its agents.
func outwardConfigs(cfg config.Config) (peers, hooks outward.Config, err error) {
	o := cfg.Outward
	both := outward.Config{Resolver: resolverAt(cfg.DNS.Resolvers), Limits: outward.Limits{Timeout: cfg.Delivery.Timeout}}
	if both.Allowed, err = parsePrefixes("outward.allow", o.Allow); err != nil {
		return peers, hooks, err
	}
	if o.AllowPrivate {
		both.Allowed = everywhere
	}
	if both.Proxy, err = proxy.New(proxy.Config{Setting: cmp.Or(o.Proxy, proxy.None)}); err != nil {
		return peers, hooks, usagef("outward.proxy: %v", err)
	}
	ports := o.Ports
	if len(ports) == 0 {
		ports = []string{"443", "8443"} // where gateways are
	}
	if both.Ports, err = parsePorts(ports); err != nil {
		return peers, hooks, err
	}
	peers, hooks = both, both
	if peers.HTTP = cfg.DNS.AllowHTTP; peers.HTTP {
		peers.Ports = append(append([]uint16{}, both.Ports...), 80, 8080)
	}
	peers.AllowedHosts = mockHosts(cfg.DNS)
	// Which targets may be http is asked when an agent is registered.
	hooks.HTTP = true
	if cfg.PushInternal {
		hooks.Allowed = everywhere
	}
	return peers, hooks, nil
}

func parsePorts(list []string) ([]uint16, error) {
	var ports []uint16
	for _, text := range list {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return nil, usagef("outward.ports: %q: want a port, 1 to 65535", text)
		}
		ports = append(ports, uint16(n))
	}
	return ports, nil
}

// mockHosts are the gateways that the operator named in mock records, wherever they are.
func mockHosts(d config.DNS) []string {
	if !d.MockMode {
		return nil
	}
	var hosts []string
	for _, text := range d.MockRecords {
		if r, err := amtp.ParseRecord(text); err == nil {
			text = r.Gateway
		}
		u, err := url.Parse(text)
		if err != nil || u.Hostname() == "" {
			continue
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": httpPort, "https": httpsPort}[u.Scheme]
		}
		hosts = append(hosts, net.JoinHostPort(u.Hostname(), port))
	}
	return hosts
}

// schemaConfig is how schemas are dealt with, but for where they are.
func schemaConfig(s config.Schema) schema.Config {
	c := schema.Config{
		Unchecked:   !s.Pipeline.Enabled || !s.Validation.Enabled,
		WarnUnknown: !s.Validation.AllowUnknownProps,
		Negotiation: schema.Negotiation{
			Enabled: s.Negotiation.Enabled, Fallback: schema.Fallback(s.Negotiation.FallbackStrategy), MaxDrift: s.Negotiation.MaxVersionDrift,
		},
		Compatibility: schema.Compatibility{Update: schema.Mode(s.Compatibility.Mode), Strict: s.Compatibility.StrictMode},
		Trusted:       s.TrustedSenders, Fresh: s.Cache.DefaultTTL,
		Limits: schema.Limits{Payload: int(s.Validation.MaxPayloadSize), Time: s.Validation.Timeout, Cached: s.Cache.MaxSize},
	}
	if s.Validation.StrictMode {
		c.Formats = schema.FormatsAlways
	}
	if !s.Compatibility.Enabled {
		c.Compatibility.Update = schema.ModeNone
	}
	return c
}

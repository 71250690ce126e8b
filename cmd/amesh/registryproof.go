package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"amesh/identity"
	"amesh/registry"
	"amesh/registry/certificate"
	"amesh/registry/oauth"
	"amesh/registry/organization"

	"github.com/spf13/pflag"
)

const (
	// registryKey is the key that signs certificates, in --data, where there is no other.
	registryKey = "registry.key"
	// systemResolvers names the resolvers that are asked unless others are given.
	systemResolvers = "/etc/resolv.conf"
)

// proofOptions say how agents prove who is behind them.
type proofOptions struct {
	key             string
	issuers         []string
	resolvers       []string
	knownDomains    []string
	agentsPerPerson int

	oauth oauth.Config // of the environment and --oidc
}

func (o *proofOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.key, "key", "", "`FILE` with the key that signs certificates (default registry.key in --data)")
	f.StringArrayVar(&o.issuers, "oidc", nil, "let the accounts of an OpenID Connect issuer vouch for agents, `name=…,issuer=URL,client-id=…,client-secret-file=FILE` (repeatable)")
	f.IntVar(&o.agentsPerPerson, "agents-per-person", oauth.AgentsPerPerson, "agents that one such account may vouch for, `N`")
	f.StringSliceVar(&o.resolvers, "resolver", nil, "ask the DNS resolver at `ADDR` about organisations (repeatable; default those of the system)")
	f.StringSliceVar(&o.knownDomains, "known-domain", nil, "let `DOMAIN` be verified though one that looks like it was first (repeatable)")
}

// checkProof looks at what was typed and at the environment.
func (a *app) checkProof(o *proofOptions, data string) error {
	if o.key == "" {
		o.key = filepath.Join(data, registryKey)
	}
	if o.agentsPerPerson < 1 {
		return usagef("--agents-per-person: want at least 1")
	}
	o.oauth = oauth.FromEnvironment(a.getenv)
	o.oauth.AgentsPerPerson = o.agentsPerPerson
	for _, text := range o.issuers {
		i, err := oauth.ParseIssuer(text)
		if err != nil {
			return usagef("--oidc: %v", err)
		}
		o.oauth.Issuers = append(o.oauth.Issuers, i)
	}
	if _, err := oauth.New(o.oauth); err != nil {
		return usagef("%v", err)
	}
	if len(o.resolvers) > 0 {
		if _, err := organization.NewResolvers(o.resolvers); err != nil {
			return usagef("--resolver: %v", err)
		}
	}
	for _, text := range o.knownDomains {
		if _, err := organization.ParseDomain(text); err != nil {
			return usagef("--known-domain %s: %v", text, err)
		}
	}
	return nil
}

// openProof gives a registry its key, its providers and its resolvers.
func openProof(cfg *registry.Config, o proofOptions) error {
	if err := os.MkdirAll(filepath.Dir(o.key), 0o700); err != nil {
		return err
	}
	key, err := identity.LoadNodeKey(o.key, rand.Reader)
	if err != nil {
		return fmt.Errorf("the registry's key: %w", err)
	}
	cfg.Issuer = certificate.NewIssuer(key, rand.Reader, time.Now)
	cfg.OAuth, cfg.KnownDomains = o.oauth, o.knownDomains
	if len(o.resolvers) > 0 {
		cfg.Resolvers, err = organization.NewResolvers(o.resolvers)
		return err
	}
	r, err := organization.SystemResolvers(systemResolvers)
	if err != nil {
		cfg.Logger.Info("organisations cannot be verified", "err", err)
		return nil
	}
	cfg.Resolvers = r
	return nil
}

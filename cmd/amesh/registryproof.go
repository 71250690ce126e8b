package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
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
	key, keep, err := openRegistryKey(o.key)
	if err != nil {
		return err
	}
	cfg.Issuer, cfg.KeepIssuer = certificate.NewIssuer(key, rand.Reader, time.Now), keep
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

// openRegistryKey reads the key that signs certificates. Where there is no file it makes
// a key, and keep writes it: not before the database is known to have no other one,
// whose file was then lost.
func openRegistryKey(path string) (key identity.PrivateKey, keep func() error, err error) {
	_, err = os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = identity.GenerateKey(rand.Reader)
		return key, func() error { return keepRegistryKey(path, key) }, err
	}
	key, err = identity.LoadNodeKey(path, rand.Reader)
	return key, nil, registryKeyProblem(err)
}

// keepRegistryKey writes a key that openRegistryKey made, once. Another process may have
// written its own meanwhile.
func keepRegistryKey(path string, key identity.PrivateKey) error {
	kept, err := identity.LoadNodeKey(path, bytes.NewReader(key.Seed()))
	if err != nil {
		return registryKeyProblem(err)
	}
	if kept.Public() != key.Public() {
		return fmt.Errorf("%w: %s was written meanwhile", registry.ErrRoot, path)
	}
	return nil
}

// registryKeyProblem is an error of reading the file, with what there is to do.
func registryKeyProblem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, identity.ErrKeyFile):
		return (&failure{exit: exitStorage, code: "registry_key_damaged", message: fmt.Sprintf("the registry's key: %v", err)}).next(registryKeyHint)
	}
	return fmt.Errorf("the registry's key: %w", err)
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"amesh/gateway"
	"amesh/gateway/auth"
	"amesh/gateway/config"
	gatewaypeer "amesh/gateway/peer"
	"amesh/gateway/signature"
	"amesh/internal/outward"
)

// authConfig says who must show what to the gateway.
func authConfig(cfg config.Config, tokens outward.Config) (gateway.AuthConfig, error) {
	a := gateway.AuthConfig{
		LocalSenders: gateway.LocalSenders(cfg.LocalSenderAuth), Require: cfg.Auth.RequireAuth, KeyHeader: cfg.Auth.APIKeyHeader,
		Verify: signature.Policy(cfg.Signature.VerifyPolicy), Tokens: tokens,
	}
	for _, m := range cfg.Auth.Methods {
		switch m {
		case "cert":
			a.Methods = append(a.Methods, auth.ByCertificate)
		case "none": // agentry's tests have it
		default:
			a.Methods = append(a.Methods, auth.Method(m))
		}
	}
	o := cfg.Auth.OAuth
	if o.Issuer == "" {
		return a, nil
	}
	i := auth.Issuer{URL: o.Issuer, Audiences: o.Audiences, Domains: o.Domains, KeysURL: o.JWKSURL}
	if o.IntrospectionURL != "" {
		i.Introspection = auth.Introspection{URL: o.IntrospectionURL, ClientID: o.ClientID}
		if o.ClientSecretFile != "" {
			secret, err := os.ReadFile(o.ClientSecretFile)
			if err != nil {
				return a, fmt.Errorf("auth.oauth.client_secret_file: %w", err)
			}
			i.Introspection.ClientSecret = strings.TrimSpace(string(secret))
		}
	}
	a.Issuers = []auth.Issuer{i}
	return a, nil
}

// ratesOf are the rates in the gateway's words.
func ratesOf(r config.Rates) gateway.Rates {
	if r == (config.Rates{}) {
		return gateway.Rates{Off: true}
	}
	rate := func(perSecond, burst int) gateway.Rate {
		if perSecond == 0 {
			return gateway.Rate{} // no bound
		}
		return gateway.Rate{PerSecond: float64(perSecond), Burst: max(burst, perSecond)}
	}
	return gateway.Rates{
		Sender: rate(r.SenderPerSecond, r.SenderBurst), Agent: rate(r.AgentPerSecond, r.AgentBurst),
		Domain: rate(r.DomainPerSecond, r.DomainBurst), Address: rate(r.AddressPerSecond, r.AddressBurst),
		UnknownPerHour: r.UnknownPerHour,
	}
}

// peerCredentials reads the file of what other gateways want to see: a JSON object, domain
// to {"api_key":…} or {"oauth":{"token_url":…,"client_id":…,"client_secret":…}}.
func peerCredentials(path string, out outward.Config) (gatewaypeer.Credentials, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("peers.credentials_file: %w", err)
	}
	var file map[string]struct {
		APIKey string `json:"api_key"`
		OAuth  *struct {
			TokenURL     string   `json:"token_url"`
			ClientID     string   `json:"client_id"`
			ClientSecret string   `json:"client_secret"`
			Scopes       []string `json:"scopes"`
			Audience     string   `json:"audience"`
		} `json:"oauth"`
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, usagef("peers.credentials_file: %s: want a JSON object of domains, each with api_key or oauth", path)
	}
	all := make(map[string]gatewaypeer.Credential, len(file))
	for domain, c := range file {
		one := gatewaypeer.Credential{APIKey: c.APIKey}
		if o := c.OAuth; o != nil {
			one.OAuth = &gatewaypeer.OAuth{TokenURL: o.TokenURL, ClientID: o.ClientID, ClientSecret: o.ClientSecret, Scopes: o.Scopes, Audience: o.Audience}
		}
		all[strings.ToLower(domain)] = one
	}
	client, err := outward.New(out)
	if err != nil {
		return nil, err
	}
	tokens, err := gatewaypeer.NewTokens(client, all)
	if err != nil {
		return nil, usagef("peers.credentials_file: %v", err)
	}
	return tokens, nil
}

// inboxConfig is how agents see their inboxes: as agentry shows them, all at once, to those
// who know of no pages.
func inboxConfig(cfg config.Config, compat bool) gateway.InboxConfig {
	c := gateway.InboxConfig{OwnRecipients: cfg.OwnRecipients, EmptyIsNull: compat}
	if compat {
		c.Page, c.Bytes = 100_000, 64<<20
	}
	return c
}

package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"

	"amesh/gateway/amtp"
	"amesh/gateway/auth"
)

// LocalSenders says what a sender of our own domain must show.
type LocalSenders string

const (
	// RequireKey: its key, or one that may speak for the domain.
	RequireKey LocalSenders = "require"
	// FlagKey: nothing, but readers are told. Who shows another one's key is refused.
	FlagKey LocalSenders = "flag"
	// NoKey: nothing, as agentry wants it: whoever reaches the gateway is every agent.
	NoKey LocalSenders = "off"
)

// standing is what a sender has shown.
type standing struct {
	caller auth.Caller
	// origin answers for the message: our own domain, the one that was proven, or
	// "unverified:" and the one that is claimed. Keys of one origin never meet those of
	// another.
	origin string
	// known says that the sender's domain has its own rate, and not that of strangers.
	known bool
	// verification goes into the message's status.
	verification *amtp.Verification
}

// proven reports whether the sender is more than a claim.
func (st standing) proven() bool { return st.caller.Kind != auth.Nobody }

// standing says who sends a message, or refuses the sender.
func (s *Server) standing(r *request, m *amtp.Message) (standing, error) {
	if m.Sender.Domain == s.cfg.Domain {
		return s.ours(r, m)
	}
	if r.domains.blocked(m.Sender.Domain) {
		return standing{}, amtp.Errorf(http.StatusForbidden, amtp.CodeDomainBlocked, "this gateway takes nothing from %s", m.Sender.Domain)
	}
	// Before anything is computed or asked for: what follows is work that strangers order.
	if err := s.takeAddress(r, 1); err != nil {
		return standing{}, err
	}
	return s.theirs(r, m)
}

// ours judges a sender of our own domain.
func (s *Server) ours(r *request, m *amtp.Message) (standing, error) {
	st := standing{origin: s.cfg.Domain, known: true}
	policy := s.cfg.Auth.LocalSenders
	by, err := s.credential(r)
	if by.Kind == auth.Admin {
		by, err = s.sendersOwn(r) // the key of the console is not a sender's
	}
	switch {
	case policy == NoKey && !s.cfg.Auth.Require && (err != nil || by.Kind == auth.Nobody || !by.SpeaksFor(m.Sender.Local, m.Sender.Domain)):
		return st, nil
	case err != nil:
		return standing{}, s.failed(r, senderRefusal(err))
	case by.Kind == auth.Nobody && (policy == RequireKey || s.cfg.Auth.Require):
		code := amtp.CodeLocalSenderAuthRequired
		if policy != RequireKey {
			code = amtp.CodeAuthenticationRequired
		}
		return standing{}, s.failed(r, amtp.Errorf(http.StatusUnauthorized, code,
			"a sender of %s shows its own API key: Authorization: Bearer <api-key>", s.cfg.Domain))
	case by.Kind == auth.Nobody:
		st.verification = &amtp.Verification{Result: amtp.TrustedInternal, Domain: s.cfg.Domain, Policy: string(policy), Reason: "no_credential"}
		return st, s.takeAddress(r, 1)
	case !by.SpeaksFor(m.Sender.Local, m.Sender.Domain):
		return standing{}, s.failed(r, amtp.Errorf(http.StatusForbidden, amtp.CodeSenderCredentialMismatch, "this credential is not the sender's").
			With("sender", m.Sender.String()))
	case !by.May(auth.ScopeSend):
		return standing{}, amtp.Errorf(http.StatusForbidden, amtp.CodeAccessDenied, "this key may not send")
	}
	if own, err := amtp.ParseAddress(by.Agent); err == nil && by.Kind == auth.Agent && !m.Signed {
		m.Sender = own // in its own case of letters, so that its keys and its lists are the same in every
	}
	st.caller = by
	st.verification = &amtp.Verification{Result: amtp.Authenticated, Method: methodName(by), Domain: s.cfg.Domain}
	return st, nil
}

// senderRefusal is what a local sender is told whose credential is not good.
func senderRefusal(err error) *amtp.Error {
	if errors.Is(err, auth.ErrWrong) {
		return amtp.Errorf(http.StatusForbidden, amtp.CodeSenderCredentialMismatch, "this credential is not the sender's")
	}
	return credentialRefusal(err)
}

// theirs judges a sender of another domain. What proves most counts: its domain's signature,
// whoever brings it; else its certificate, else its token or key. Whoever proves by those to be
// of another domain is refused (T86), even if nothing had to be proven.
func (s *Server) theirs(r *request, m *amtp.Message) (standing, error) {
	st := standing{origin: "unverified:" + m.Sender.Domain, known: r.domains.known(m.Sender.Domain)}
	v := s.verified(r, m)
	by := auth.Proven(m.Sender.Domain, auth.BySignature)
	if v.Result != amtp.Verified {
		var err error
		if by, err = s.shown(r, m.Sender); err != nil {
			return st, err
		}
	}
	if by.Kind != auth.Nobody {
		st.caller, st.origin, st.known = by, by.Domain, true
		if v.Result == amtp.Unsigned {
			v.Result, v.Method = amtp.Authenticated, methodName(by)
		}
	}
	if refusal := s.signatures.Policy().Refuse(v); refusal != nil {
		return st, refusal
	}
	if s.cfg.Auth.Require && by.Kind == auth.Nobody {
		return st, s.failed(r, amtp.Errorf(http.StatusUnauthorized, amtp.CodeAuthenticationRequired, "Valid authentication is required"))
	}
	if !st.known && s.comesFromThere(r, m.Sender.Domain) {
		st.known, v.Method = true, string(auth.ByAddress)
	}
	if v.Result != amtp.Unsigned || s.cfg.tells() {
		st.verification = &v
	}
	return st, nil
}

// shown is who a request of another domain proves to be by its certificate, token or key;
// nobody if it shows none. The certificate counts first: it belongs to the connection.
func (s *Server) shown(r *request, sender amtp.Address) (auth.Caller, error) {
	by, err := s.certified(r, sender.Domain)
	if err == nil && by.Kind == auth.Nobody {
		if by, err = s.credential(r); by.Kind == auth.Admin {
			by, err = s.sendersOwn(r)
		}
		if err != nil {
			if s.cfg.Auth.LocalSenders == NoKey && !s.cfg.Auth.Require {
				return auth.Caller{}, nil
			}
			return by, s.failed(r, credentialRefusal(err))
		}
	}
	switch {
	case errors.Is(err, auth.ErrWrong), by.Kind != auth.Nobody && !by.SpeaksFor(sender.Local, sender.Domain):
		return by, s.failed(r, amtp.Errorf(http.StatusForbidden, amtp.CodeSenderDomainMismatch,
			"what this request proves is not the sender's domain %s", sender.Domain).With("sender", sender.String()))
	case err != nil:
		return by, err
	case by.Kind != auth.Nobody && !by.May(auth.ScopeSend):
		return by, amtp.Errorf(http.StatusForbidden, amtp.CodeAccessDenied, "this key may not send")
	}
	return by, nil
}

// certified is the gateway of a domain if the connection's certificate names the domain, or the
// host that the domain's record says its gateway is: that record proves as much as the one
// with its keys. Nobody without a certificate; auth.ErrWrong with another one's.
func (s *Server) certified(r *request, domain string) (auth.Caller, error) {
	names := auth.CertificateNames(r.TLS)
	if names == nil || !s.cfg.Auth.allows(auth.ByCertificate) {
		return auth.Caller{}, nil
	}
	if slices.Contains(names, domain) {
		return auth.Proven(domain, auth.ByCertificate), nil
	}
	if host := s.gatewayHost(r.Context(), domain); host != "" && slices.Contains(names, host) {
		return auth.Proven(domain, auth.ByCertificate), nil
	}
	return auth.Caller{}, auth.ErrWrong
}

// gatewayHost is the host of a domain's gateway, "" if it has none that can be found.
func (s *Server) gatewayHost(ctx context.Context, domain string) string {
	ctx, cancel := context.WithTimeout(ctx, auth.AddressWait)
	defer cancel()
	found, err := s.discovery.Lookup(ctx, domain)
	if err != nil {
		return ""
	}
	u, err := url.Parse(found.Gateway)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// verified judges the signature of a message.
func (s *Server) verified(r *request, m *amtp.Message) amtp.Verification {
	if !m.Signed {
		return amtp.Verification{Result: amtp.Unsigned, Domain: m.Sender.Domain, Policy: string(s.signatures.Policy())}
	}
	return s.signatures.Verify(r.Context(), r.raw)
}

// comesFromThere reports whether a request comes from the address of a domain's gateway.
func (s *Server) comesFromThere(r *request, domain string) bool {
	_, err := s.addresses.Caller(r.Context(), domain, r.from)
	return err == nil
}

// locate finds the addresses of a domain's gateway.
func (s *Server) locate(ctx context.Context, domain string) ([]netip.Addr, error) {
	host := s.gatewayHost(ctx, domain)
	if host == "" {
		return nil, errors.New("no gateway")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	return s.cfg.Auth.lookup(ctx, host)
}

// methodName is what a message's status calls the way in which its sender was proven.
func methodName(by auth.Caller) string {
	switch {
	case by.Kind == auth.Agent:
		return "agent_key"
	case by.Method == auth.ByCertificate:
		return "mtls"
	}
	return string(by.Method)
}

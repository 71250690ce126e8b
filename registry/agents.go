package registry

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"amesh/registry/db"
	"amesh/registry/wire"
)

// agentSubject registers and looks up agents.
func (s *Server) agentSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodPost, path: "/v1/registry/register", prepare: s.checkToken, change: s.register, failure: registerFailure,
			signer: signer{amid: "amid", key: "signing_public_key"}},
		route{method: http.MethodGet, path: "/v1/registry/lookup", read: s.lookup},
	)
}

// registerFailure is the shape that refusals of register have.
func registerFailure(r *request, e *wire.Error) any {
	return wire.RegisterReply{AMID: printable(r.text("amid"), 64), Tier: wire.TierAnonymous, Error: e.Text, Code: e.Code}
}

// register takes an agent in. One that is known is brought up to date, and answered
// 409 nevertheless, which both SDKs take for success (AgentMesh §8, 16).
func (s *Server) register(tx *db.Tx, r *request) (reply, error) {
	body, err := decode[wire.RegisterRequest](r)
	if err != nil {
		return reply{}, err
	}
	if key, err := wire.ParseSigningKey(body.SigningPublicKey); err != nil || key != r.by.key {
		return reply{}, wire.Errorf(http.StatusBadRequest, wire.CodeKeyInvalid, "signing_public_key is not the key that signed")
	}
	exchange, err := wire.ParseExchangeKey(body.ExchangePublicKey)
	if err != nil {
		return reply{}, wire.Errorf(http.StatusBadRequest, wire.CodeKeyInvalid, "exchange_public_key: %s", err)
	}
	if err := s.checkProfile(&body); err != nil {
		return reply{}, err
	}
	if r.by.agent == nil {
		if err := s.mayCome(r); err != nil {
			return reply{}, err
		}
	}
	a := db.Agent{
		AMID: r.by.amid, SigningKey: r.by.key, Tier: wire.TierAnonymous, Status: wire.StatusOffline, Reputation: 0.5, Created: r.now,
	}
	known := r.by.agent != nil && r.by.agent.Strict == r.by.strict
	if known {
		a = *r.by.agent
	} else if err := s.startOver(tx, r); err != nil {
		return reply{}, err
	}
	a.Strict, a.LastSeen, a.Updated = r.by.strict, r.now, r.now
	a.ExchangeKey, a.DisplayName, a.Capabilities = exchange, body.DisplayName, body.Capabilities
	a.RelayEndpoint, a.DirectEndpoint = body.RelayEndpoint, body.DirectEndpoint
	if err := tx.PutAgent(a); err != nil {
		return reply{}, err
	}
	answer := wire.RegisterReply{Success: !known, AMID: a.AMID.String(), Tier: a.Tier}
	if err := s.vouchAtRegister(tx, r, &answer); err != nil {
		return reply{}, err
	}
	if known {
		answer.Updated, answer.Error, answer.Code = true, "AMID already registered", wire.CodeConflict
		return reply{status: http.StatusConflict, body: answer}, nil
	}
	return reply{status: http.StatusCreated, body: answer}, nil
}

// startOver removes all that is under the caller's AMID. It comes from signatures that
// cover no request, and so perhaps from somebody who saw one at a relay.
func (s *Server) startOver(tx *db.Tx, r *request) error {
	if r.by.agent == nil && !r.by.strict {
		return nil
	}
	for _, forget := range s.forget {
		if err := forget(tx, r.by.amid); err != nil {
			return err
		}
	}
	return tx.RemoveAgent(r.by.amid)
}

func (s *Server) checkProfile(body *wire.RegisterRequest) error {
	if body.DisplayName != nil && !plainText(*body.DisplayName, s.limits.NameBytes) {
		return wire.Invalid("display_name: want at most %d bytes of text without control characters", s.limits.NameBytes)
	}
	if err := s.checkCapabilities(body.Capabilities); err != nil {
		return err
	}
	if e := body.RelayEndpoint; e != "" {
		u, err := url.Parse(e)
		if err != nil || u.Scheme != "wss" && u.Scheme != "ws" || u.Host == "" || !endpoint(e, s.limits.EndpointBytes) {
			return wire.Invalid("relay_endpoint: want a wss:// or ws:// URL of at most %d bytes", s.limits.EndpointBytes)
		}
	}
	if e := body.DirectEndpoint; e != nil && !endpoint(*e, s.limits.EndpointBytes) {
		return wire.Invalid("direct_endpoint: want at most %d bytes of ASCII without spaces", s.limits.EndpointBytes)
	}
	return nil
}

func (s *Server) checkCapabilities(list []string) error {
	if len(list) > s.limits.Capabilities {
		return wire.Invalid("capabilities: %d of them, at most %d", len(list), s.limits.Capabilities)
	}
	for _, c := range list {
		if c == "" || !plainText(c, s.limits.CapabilityBytes) {
			return wire.Invalid("capabilities: want 1 to %d bytes of text without control characters each", s.limits.CapabilityBytes)
		}
	}
	return nil
}

// plainText reports whether s is text of at most size bytes that can be shown. NUL, a
// control character, is also what PostgreSQL cannot store.
func plainText(s string, size int) bool {
	return len(s) <= size && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func endpoint(s string, size int) bool {
	return len(s) <= size && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7F })
}

// printable is a stranger's text as it may be repeated to it.
func printable(s string, size int) string {
	if !plainText(s, size) {
		return ""
	}
	return s
}

func (s *Server) lookup(r *request) (reply, error) {
	who, err := wire.ParseAMID(r.URL.Query().Get("amid"))
	if err != nil {
		return reply{}, wire.Invalid("amid: %s", err)
	}
	var found wire.LookupReply
	err = r.db.View(r.Context(), func(tx *db.Tx) error {
		a, err := tx.Agent(who)
		if err != nil {
			return err
		}
		found = wire.LookupReply{Agent: s.shown(a, r), ReputationStatus: wire.Unrated}
		for _, describe := range s.describe {
			if err := describe(tx, &found, a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return reply{}, orNotFound(err, "Agent not found")
	}
	return reply{body: found}, nil
}

// shown is an agent as others see it.
func (s *Server) shown(a db.Agent, r *request) wire.Agent {
	return wire.Agent{
		AMID: a.AMID.String(), DID: a.AMID.DID(), Tier: a.Tier, DisplayName: a.DisplayName, Organization: a.Organization,
		SigningPublicKey:  wire.SigningKeyText(a.SigningKey, s.cfg.PrefixedKeys),
		ExchangePublicKey: wire.ExchangeKeyText(a.ExchangeKey, s.cfg.PrefixedKeys),
		Capabilities:      a.Capabilities, RelayEndpoint: a.RelayEndpoint, DirectEndpoint: a.DirectEndpoint,
		Status: s.presence(a, r), ReputationScore: a.Reputation, LastSeen: wire.Time{Time: a.LastSeen},
	}
}

// presence is what an agent last said of itself, unless that is long ago.
func (s *Server) presence(a db.Agent, r *request) wire.Status {
	if r.now.Sub(a.LastSeen) > s.limits.PresenceLife {
		return wire.StatusOffline
	}
	return a.Status
}

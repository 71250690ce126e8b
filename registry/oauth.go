package registry

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"amesh/identity"
	"amesh/registry/certificate"
	"amesh/registry/db"
	"amesh/registry/oauth"
	"amesh/registry/wire"
)

const (
	// signInWait is how long the end of a sign-in may take: a provider is asked up to
	// four times.
	signInWait = 20 * time.Second
	// formBytes is the longest form of the page that a sign-in begins with.
	formBytes = 4 << 10
)

// oauthSubject lets humans vouch for agents (registry-proof.md §2).
func (s *Server) oauthSubject() error {
	c := s.cfg.OAuth
	c.Now = s.cfg.Clock
	var err error
	if s.signIns, err = oauth.New(c); err != nil {
		return err
	}
	if c.Configured() && s.cfg.Issuer == nil {
		return errors.New("humans can sign in, but there is no key to sign certificates with")
	}
	signer := signer{amid: "amid"}
	s.routes = append(s.routes,
		route{method: http.MethodGet, path: "/v1/auth/oauth/providers", read: s.oauthProviders, early: true},
		route{method: http.MethodPost, path: "/v1/auth/oauth/authorize", change: s.oauthAuthorize, signer: signer},
		route{method: http.MethodPost, path: "/v1/amesh/oauth/withdraw", change: whole(s.oauthWithdraw), signer: signer},
		route{method: http.MethodGet, path: "/v1/auth/oauth/start", raw: s.oauthStart},
		route{method: http.MethodPost, path: "/v1/auth/oauth/start", raw: s.oauthContinue},
		route{method: http.MethodGet, path: "/v1/auth/oauth/callback", raw: s.oauthCallback, cost: 5},
		route{method: http.MethodGet, path: "/v1/auth/oauth/callback/{provider}", raw: s.oauthCallback, cost: 5},
	)
	s.sweeps = append(s.sweeps, (*db.Tx).ForgetOAuthStates)
	return nil
}

func (s *Server) oauthProviders(*request) (reply, error) {
	list := []wire.OAuthProvider{}
	for _, p := range s.signIns.Providers() {
		list = append(list, wire.OAuthProvider{Name: p.Name(), Enabled: p.Enabled(), DisplayName: p.DisplayName()})
	}
	return reply{body: wire.OAuthProviders{Providers: list}}, nil
}

func (s *Server) oauthAuthorize(tx *db.Tx, r *request) (reply, error) {
	body, err := decode[wire.AuthorizeRequest](r)
	if err != nil {
		return reply{}, err
	}
	link, err := s.signIns.Begin(tx, r.by.amid, body.Provider)
	if err != nil {
		return reply{}, s.signInRefusal(err, body.Provider)
	}
	return reply{body: wire.AuthorizeReply{
		AuthorizationURL: link.URL, State: link.State, ExpiresIn: int(oauth.StateLife.Seconds()),
	}}, nil
}

// oauthWithdraw ends what accounts say of an agent, and forgets which they were.
func (s *Server) oauthWithdraw(tx *db.Tx, r *request) (reply, error) {
	if err := tx.ForgetVouchers(r.by.amid); err != nil {
		return reply{}, err
	}
	if err := tx.RevokeMembership("", r.by.amid, reasonWithdrawn, r.now); err != nil {
		return reply{}, err
	}
	return reply{body: wire.Done{Success: true}}, nil
}

// inTx is the database as the flow sees it: each step in a transaction of its own, so
// that none is open while a provider is asked.
type inTx struct {
	ctx context.Context
	db  *db.DB
}

func (i inTx) PutOAuthState(st oauth.State) error {
	return i.db.Write(i.ctx, func(tx *db.Tx) error { return tx.PutOAuthState(st) })
}

func (i inTx) OAuthState(hash [32]byte, now time.Time) (st oauth.State, err error) {
	err = i.db.View(i.ctx, func(tx *db.Tx) (err error) {
		st, err = tx.OAuthState(hash, now)
		return err
	})
	return st, err
}

func (i inTx) OpenOAuthState(hash, browser [32]byte, now time.Time) error {
	return i.db.Write(i.ctx, func(tx *db.Tx) error { return tx.OpenOAuthState(hash, browser, now) })
}

func (i inTx) TakeOAuthState(hash, browser [32]byte, now time.Time) (st oauth.State, err error) {
	err = i.db.Write(i.ctx, func(tx *db.Tx) (err error) {
		st, err = tx.TakeOAuthState(hash, browser, now)
		return err
	})
	return st, err
}

// cookies are the cookies of a request by name.
func cookies(r *http.Request) func(string) string {
	return func(name string) string {
		if c, err := r.Cookie(name); err == nil {
			return c.Value
		}
		return ""
	}
}

// cookie is one that the browser sends to this registry alone, and also when it
// comes back from a provider.
func (s *Server) cookie(name, value string, life time.Duration) *http.Cookie {
	c := &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(life.Seconds()),
		Secure: s.signIns.Secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// oauthStart shows a human which agent the link is for.
func (s *Server) oauthStart(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.limits.AnswerWait)
	defer cancel()
	page, agent, err := s.openLink(ctx, r)
	if err != nil {
		s.endPage(w, r, err, oauth.Done{})
		return
	}
	http.SetCookie(w, s.cookie(page.Cookie, page.Secret, oauth.StateLife))
	view := oauth.View{
		Title: "Vouch for an agent", Provider: page.Provider.DisplayName(), DID: page.AMID.DID(), Name: nameOf(agent),
		State: r.URL.Query().Get("state"), Confirm: page.Confirm,
	}
	if err := oauth.WriteStart(w, view); err != nil {
		s.log.Debug("page not written", "err", err)
	}
}

func (s *Server) openLink(ctx context.Context, r *http.Request) (page oauth.Page, agent db.Agent, err error) {
	d := s.db.Load()
	if d == nil {
		return page, agent, errNotReady
	}
	if page, err = s.signIns.Open(inTx{ctx, d}, r.URL.Query().Get("state"), cookies(r)); err != nil {
		return page, agent, err
	}
	err = d.View(ctx, func(tx *db.Tx) (err error) {
		agent, err = tx.Agent(page.AMID)
		return err
	})
	return page, agent, err
}

var errNotReady = wire.Errorf(http.StatusServiceUnavailable, wire.CodeStarting, "Service is starting up")

// nameBytes is how much a person is shown of the name that an agent gave itself.
const nameBytes = 64

// nameOf is that name, without what turns the line around it or cannot be seen.
func nameOf(a db.Agent) string {
	if a.DisplayName == nil {
		return ""
	}
	return wire.Line(*a.DisplayName, nameBytes)
}

// oauthContinue sends a human who said yes to the provider.
func (s *Server) oauthContinue(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), signInWait)
	defer cancel()
	r.Body = http.MaxBytesReader(w, r.Body, formBytes)
	where, err := "", error(errNotReady)
	if d := s.db.Load(); d != nil {
		where, err = s.signIns.Continue(ctx, inTx{ctx, d}, r.PostFormValue("state"), r.PostFormValue("confirm"), cookies(r))
	}
	if err != nil {
		s.endPage(w, r, err, oauth.Done{})
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, where, http.StatusSeeOther)
}

// oauthCallback takes a human back from a provider.
func (s *Server) oauthCallback(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet { // HEAD would use up the state
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), signInWait)
	defer cancel()
	now := s.cfg.Clock()
	done, certificate, err := s.finishSignIn(ctx, r, now)
	if done.Cookie != "" {
		http.SetCookie(w, s.cookie(done.Cookie, "", 0))
	}
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.endPage(w, r, err, done)
		return
	}
	answer := wire.CallbackReply{Success: err == nil}
	if done.Provider != "" {
		answer.AMID, answer.Provider = ptr(done.AMID.String()), ptr(done.Provider)
	}
	if err != nil {
		e := s.signInError(r, err, done.Provider)
		answer.Error, answer.Code = &e.Text, e.Code
		s.write(w, reply{}, e, func(*wire.Error) any { return answer })
		return
	}
	answer.Certificate = &certificate
	answer.VerifiedIdentity = &wire.VerifiedIdentity{
		Provider: done.Person.Provider, ProviderID: done.Person.ID, Username: orNil(done.Person.Username),
		DisplayName: orNil(done.Person.Name), VerifiedAt: wire.Time{Time: now},
	}
	s.write(w, reply{body: answer}, nil, nil)
}

func (s *Server) finishSignIn(ctx context.Context, r *http.Request, now time.Time) (oauth.Done, string, error) {
	d := s.db.Load()
	if d == nil {
		return oauth.Done{}, "", errNotReady
	}
	q := r.URL.Query()
	done, err := s.signIns.Finish(ctx, inTx{ctx, d}, oauth.Return{
		Path: r.PathValue("provider"), State: q.Get("state"), Denied: q.Has("error"),
		Answer: oauth.Answer{Code: q.Get("code"), Issuer: q.Get("iss")},
	}, cookies(r))
	if err != nil {
		return done, "", err
	}
	var issued *certificate.Issued
	err = d.Write(ctx, func(tx *db.Tx) (err error) {
		issued, err = s.vouch(tx, done.AMID, done.Person, now)
		return err
	})
	if err != nil {
		return done, "", err
	}
	return done, issued.Text, nil
}

// Why certificates are taken back here (AgentMesh §3.2).
const (
	reasonSuperseded = "superseded"
	reasonWithdrawn  = "cessation_of_operation"
	reasonPrivilege  = "privilege_withdrawn"
)

// vouch notes that a person stands behind an agent, and certifies it. The certificate
// does not say who.
func (s *Server) vouch(tx *db.Tx, who identity.AMID, p oauth.Person, now time.Time) (*certificate.Issued, error) {
	a, err := tx.Agent(who)
	if err != nil {
		return nil, orNotFound(err, "Agent not found")
	}
	if revoked, err := tx.Revoked(who); err != nil {
		return nil, err
	} else if revoked {
		return nil, wire.Errorf(http.StatusForbidden, wire.CodeForbidden, "this agent was revoked")
	}
	// Ratings keep the owner for long: a word that names nobody.
	owner, err := s.cfg.Issuer.Owner("account " + p.Provider + " " + p.ID)
	if err != nil {
		return nil, err
	}
	owner = "account " + owner
	if err := mayIssue(tx, who, owner, now); err != nil {
		return nil, err
	}
	switch err := tx.Vouch(who, p, s.signIns.AgentsPerPerson(), now); {
	case errors.Is(err, db.ErrTooMany):
		return nil, wire.Errorf(http.StatusConflict, wire.CodeOAuthTooMany,
			"this account vouches for %d agents already, and cannot for more", s.signIns.AgentsPerPerson())
	case err != nil:
		return nil, err
	}
	issued, err := s.cfg.Issuer.IssueAgent(certificate.Agent{Key: a.SigningKey, Tier: certificate.Verified})
	if err != nil {
		return nil, err
	}
	// The certificate before may have another owner.
	if err := tx.RevokeMembership("", who, reasonSuperseded, now); err != nil {
		return nil, err
	}
	return issued, tx.AddCertificate(kept(issued, "", "", owner), now)
}

// kept is an issued certificate as the database keeps it.
func kept(i *certificate.Issued, organization, issuer, owner string) db.Certificate {
	c := i.Certificate
	return db.Certificate{
		Serial: c.Serial.String(), Issuer: issuer, AMID: c.AMID, OrganizationID: organization, Owner: owner,
		Tier: wire.Tier(c.Tier.String()), Document: i.Text, Compact: i.Compact, Issued: c.Issued, Expires: c.Expires,
	}
}

// tokenCost is what a verification token costs its address beside the registration, and
// tokenPause and tokenBurst are how many of them are checked for everybody together:
// after a burst one in that time.
const (
	tokenCost  = 20
	tokenPause = 2 * time.Second
	tokenBurst = 60
)

// checkToken finds out, before the transaction, whose access token a registration
// carries. One that is not ours to believe changes nothing (AgentMesh §8.5).
func (s *Server) checkToken(r *request) error {
	token := r.text("verification_token")
	if token == "" || s.cfg.Issuer == nil {
		return nil
	}
	// Each asks a provider, in this registry's name and from what it allows us.
	if !s.unlimited(r) && !s.addresses.Take(r.from, tokenCost, r.now) || !s.tokenChecks.AllowN(r.now, 1) {
		return tooMany()
	}
	p, err := s.signIns.CheckToken(r.Context(), token)
	if err != nil {
		s.log.Debug("verification token not honoured", "err", err)
		return nil
	}
	r.prepared = p
	return nil
}

// vouchAtRegister is what a token that checkToken believed does.
func (s *Server) vouchAtRegister(tx *db.Tx, r *request, answer *wire.RegisterReply) error {
	p, ok := r.prepared.(oauth.Person)
	if !ok {
		return nil
	}
	issued, err := s.vouch(tx, r.by.amid, p, r.now)
	if _, refused := errors.AsType[*wire.Error](err); refused {
		return nil // registered all the same, as in 0.2
	}
	if err != nil {
		return err
	}
	a, err := tx.Agent(r.by.amid)
	answer.Tier, answer.Certificate = a.Tier, issued.Text
	return err
}

// endPage ends a sign-in for a person.
func (s *Server) endPage(w http.ResponseWriter, r *http.Request, err error, done oauth.Done) {
	view, status := oauth.View{Title: "The agent is verified", DID: done.AMID.DID()}, http.StatusOK
	for _, p := range s.signIns.Providers() {
		if p.Name() == done.Provider {
			view.Provider = p.DisplayName()
		}
	}
	if err != nil {
		e := s.signInError(r, err, done.Provider)
		view, status = oauth.View{Title: "Nothing was changed", Code: string(e.Code), Text: e.Text}, e.Status
	}
	if err := oauth.WriteEnd(w, status, view); err != nil {
		s.log.Debug("page not written", "err", err)
	}
}

// signInError is what a stranger is told of any error on the way.
func (s *Server) signInError(r *http.Request, err error, provider string) *wire.Error {
	return s.refusal(&request{Request: r}, s.signInRefusal(err, provider))
}

// signInRefusal gives errors of the flow their words; which check failed goes to the
// log alone.
func (s *Server) signInRefusal(err error, provider string) error {
	const again = "; ask your agent for a new link"
	refuse := func(status int, code wire.Code, text string) error {
		s.log.Debug("sign-in refused", "code", code, "err", err)
		return wire.Errorf(status, code, "%s", text)
	}
	switch {
	case errors.Is(err, oauth.ErrState):
		return refuse(http.StatusBadRequest, wire.CodeOAuthState, "this link is used, too old, or was opened in another browser"+again)
	case errors.Is(err, oauth.ErrDenied):
		return refuse(http.StatusBadRequest, wire.CodeOAuthDenied, "the provider did not sign you in"+again)
	case errors.Is(err, oauth.ErrToken):
		return refuse(http.StatusBadRequest, wire.CodeOAuthToken, "what the provider answered is not valid"+again)
	case errors.Is(err, oauth.ErrUnverified):
		return refuse(http.StatusBadRequest, wire.CodeOAuthUnverified,
			"the account has no verified e-mail address: verify it at the provider, and ask your agent for a new link")
	case errors.Is(err, oauth.ErrProvider):
		return refuse(http.StatusBadGateway, wire.CodeOAuthProvider, "the provider does not answer: try again later")
	case errors.Is(err, oauth.ErrUnknownProvider):
		return refuse(http.StatusBadRequest, wire.CodeOAuthUnknown, "Unknown provider: "+printable(provider, 64))
	case errors.Is(err, oauth.ErrNotConfigured):
		return refuse(http.StatusBadRequest, wire.CodeOAuthUnconfigured, s.displayName(provider)+" OAuth not configured")
	}
	return err
}

func (s *Server) displayName(provider string) string {
	for _, p := range s.signIns.Providers() {
		if p.Name() == provider {
			return p.DisplayName()
		}
	}
	return provider
}

func ptr[T any](v T) *T { return &v }

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

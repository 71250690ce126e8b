package registry

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"amesh/identity"
	"amesh/internal/prefix"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// finding is what the subjects of this part of the API share: search, cards, records,
// one-time keys, schemas and the pages.
type finding struct {
	searches *prefix.Rate  // by who asks
	takes    *prefix.Rate  // of one-time keys, by who asks and whom they are of
	api      *huma.OpenAPI // what these routes take and give
}

// findSubjects adds the routes of these subjects.
func (s *Server) findSubjects(now time.Time) error {
	perHour := s.limits.KeysPerRequester
	s.finding.searches = prefix.NewRate(s.limits.SearchRate, s.limits.SearchBurst, now)
	s.finding.takes = prefix.NewRate(float64(perHour)/time.Hour.Seconds(), perHour, now)
	s.searchSubject()
	s.cardSubject()
	s.recordSubject()
	s.oneTimeSubject()
	s.schemaSubject()
	if err := s.openAPISubject(); err != nil {
		return err
	}
	return s.pageSubject()
}

// Signed objects travel as they are, not in JSON, and whoever brings one signs the whole
// request: there is no 0.2 client of these routes.

// begin reads what is known of a request before its body.
func (s *Server) begin(hr *http.Request) (*request, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(hr.Context(), s.limits.AnswerWait)
	return &request{Request: hr.WithContext(ctx), from: s.from(hr), now: s.cfg.Clock(), db: s.db.Load()}, cancel
}

func starting() error {
	e := wire.Errorf(http.StatusServiceUnavailable, wire.CodeStarting, "the registry is starting: try again")
	e.RetryAfter = time.Second
	return e
}

// sealed makes a handler of a request with a body of a content type and at most max
// bytes, that an agent has signed. change runs in a transaction, perhaps several times,
// in which the signature is used up and r.by.agent is the signer.
func (s *Server) sealed(contentType string, max int64, change func(*db.Tx, *request) (reply, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, hr *http.Request) {
		r, cancel := s.begin(hr)
		defer cancel()
		out, err := s.takeSealed(w, r, contentType, max, change)
		s.write(w, out, s.refusal(r, err), nil)
	}
}

func (s *Server) takeSealed(w http.ResponseWriter, r *request, contentType string, max int64, change func(*db.Tx, *request) (reply, error)) (reply, error) {
	if r.db == nil {
		return reply{}, starting()
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != contentType {
		return reply{}, wire.Errorf(http.StatusUnsupportedMediaType, wire.CodeMediaType, "want Content-Type: %s", contentType)
	}
	defer s.release(r)
	if err := s.readRaw(w, r, max); err != nil {
		return reply{}, err
	}
	if r.Header.Get(wire.SignatureHeader) == "" {
		return reply{}, wire.Errorf(http.StatusUnauthorized, wire.CodeSignatureRequired, "sign the request with the header %s", wire.SignatureHeader)
	}
	p, err := wire.VerifyRequest(r.Request, r.raw, s.names, r.now)
	if err != nil {
		return reply{}, err
	}
	r.by = caller{amid: p.AMID, key: p.Key, strict: true, use: useOf("request", p.AMID, "", p.Nonce[:])}
	if !s.agents.TakeFor(r.by.account(), 1, r.now) {
		return reply{}, tooMany()
	}
	return s.apply(route{}, r, change)
}

// ofPath is the agent that the path names, who must be the one that signed.
func (r *request) ofPath() (identity.AMID, error) {
	who, err := wire.ParseAMID(r.PathValue("amid"))
	if err != nil {
		return who, wire.Invalid("%s", err)
	}
	if r.by.amid != who {
		return who, wire.Errorf(http.StatusForbidden, wire.CodeForbidden, "%s signed, and the path names %s", r.by.amid, who)
	}
	return who, nil
}

// stale is the refusal of what does not follow on what is kept.
func stale(err error) error {
	switch {
	case errors.Is(err, db.ErrStale), errors.Is(err, db.ErrTaken), errors.Is(err, db.ErrFull):
		return wire.Errorf(http.StatusConflict, wire.CodeConflict, "%s", err)
	}
	return err
}

// look makes a handler that anybody may ask, for bytes of a content type. It counts as a
// search.
func (s *Server) look(find func(*db.Tx, *request) (contentType string, b []byte, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, hr *http.Request) {
		r, cancel := s.begin(hr)
		defer cancel()
		contentType, b, err := "", []byte(nil), s.mayAsk(r)
		if err == nil {
			err = r.db.View(r.Context(), func(tx *db.Tx) (err error) {
				contentType, b, err = find(tx, r)
				return err
			})
		}
		if err != nil {
			s.write(w, reply{}, s.refusal(r, err), nil)
			return
		}
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		_, _ = w.Write(b) // the client may be gone
	}
}

// mayAsk counts a search. Who signs is counted by name, everybody else by address: one
// who is registered need not suffer from his neighbours. A signature over a question may
// be used again, since asking changes nothing.
func (s *Server) mayAsk(r *request) error {
	if r.db == nil {
		return starting()
	}
	if r.Header.Get(wire.SignatureHeader) != "" {
		p, err := wire.VerifyRequest(r.Request, r.raw, s.names, r.now)
		if err != nil {
			return err
		}
		err = r.db.View(r.Context(), func(tx *db.Tx) error {
			a, err := tx.Agent(p.AMID)
			if err != nil {
				return err
			}
			r.by = caller{amid: p.AMID, key: p.Key, strict: true, agent: &a}
			return refuseRevoked(tx, r)
		})
		if err != nil {
			return orNotFound(err, "Agent not found: register first, or ask without a signature")
		}
		if !s.finding.searches.TakeFor(r.by.account(), 1, r.now) {
			return tooMany()
		}
		return nil
	}
	if !s.unlimited(r) && !s.finding.searches.Take(r.from, 1, r.now) {
		return tooMany()
	}
	return nil
}

// sweepAll makes a sweep of a step that removes a batch and says how large it was. What
// it leaves waits for the next time, so that nobody waits long for the database.
func sweepAll(step func(*db.Tx, time.Time) (int, error)) func(*db.Tx, time.Time) error {
	const steps = 5
	return func(tx *db.Tx, now time.Time) error {
		for range steps {
			if n, err := step(tx, now); err != nil || n == 0 {
				return err
			}
		}
		return nil
	}
}

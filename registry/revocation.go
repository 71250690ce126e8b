package registry

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"time"

	"amesh/identity"
	"amesh/registry/certificate"
	"amesh/registry/db"
	"amesh/registry/organization"
	"amesh/registry/wire"

	"github.com/google/uuid"
)

// revocationSubject ends agents, and says who was ended. A revoked agent changes nothing
// any more, has no prekeys, no certificate and no tier, and is not found; lookup still
// shows it, as revoked.
func (s *Server) revocationSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodPost, path: "/v1/registry/revoke", change: s.revoke, failure: revokeFailure,
			signer: signer{amid: "revoker_amid", unknown: http.StatusUnauthorized}},
		route{method: http.MethodGet, path: "/v1/registry/revocation", read: s.revocation},
		route{method: http.MethodPost, path: "/v1/registry/revocations/bulk", read: s.revocationsOf, cost: 5},
		route{method: http.MethodGet, path: "/v1/registry/revocations", read: s.revocations, cost: 5},
		route{method: http.MethodGet, path: "/v1/amesh/revocations", read: s.revocationsSince, cost: 5},
		// The statement is its own signature, and good for ever: whoever has it may bring it.
		route{method: http.MethodPost, path: "/v1/amesh/revocations", read: s.takeStatement, cost: 5},
		route{method: http.MethodGet, path: "/v1/amesh/revocations/{amid}", read: s.statement},
	)
	s.conditions = append(s.conditions, refuseRevoked)
	s.describe = append(s.describe, func(tx *db.Tx, out *wire.LookupReply, a db.Agent) (err error) {
		out.Revoked, err = tx.Revoked(a.AMID)
		return err
	})
	s.forget = append(s.forget, liftForged)
}

// refuseRevoked lets a revoked agent sign nothing, but the end of what is ended.
func refuseRevoked(tx *db.Tx, r *request) error {
	rev, err := tx.Revocation(r.by.amid)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if lifts(rev, r) || r.URL.Path == "/v1/registry/revoke" && r.text("amid") == r.by.amid.String() {
		return nil
	}
	return wire.Errorf(http.StatusForbidden, wire.CodeRevoked, "this AMID was revoked on %s: make a new identity", rev.At.Format(time.DateOnly))
}

// lifts reports whether the request ends a revocation that may be forged: one in the
// agent's own name, by a signature that covers no request, before the agent first
// signed one that does.
func lifts(rev db.Revocation, r *request) bool {
	return !rev.Strict && rev.By == rev.AMID && r.by.strict && (r.by.agent == nil || !r.by.agent.Strict) &&
		r.URL.Path == "/v1/registry/register"
}

// liftForged is called for such an agent.
func liftForged(tx *db.Tx, who identity.AMID) error {
	rev, err := tx.Revocation(who)
	if errors.Is(err, db.ErrNotFound) || err == nil && (rev.Strict || rev.By != who) {
		return nil
	}
	if err != nil {
		return err
	}
	return tx.LiftRevocation(who)
}

// revokeFailure is the shape that refusals of revoke have.
func revokeFailure(_ *request, e *wire.Error) any {
	return wire.RevokeReply{Error: &e.Text, Code: e.Code}
}

func (s *Server) revoke(tx *db.Tx, r *request) (reply, error) {
	body, err := decode[wire.RevokeRequest](r)
	if err != nil {
		return reply{}, err
	}
	target, err := wire.ParseAMID(body.AMID)
	if err != nil {
		return reply{}, wire.Invalid("amid: %s", err)
	}
	if !body.Reason.Valid() {
		return reply{}, wire.Invalid("reason: want key_compromise, policy_violation, superseded, cessation_of_operation, privilege_withdrawn, admin_request or other")
	}
	if body.Notes != nil && !plainText(*body.Notes, wire.MaxNotes) {
		return reply{}, wire.Invalid("notes: want at most %d bytes of text without control characters", wire.MaxNotes)
	}
	a, err := tx.Agent(target)
	if err != nil {
		return reply{}, orNotFound(err, "Agent not found")
	}
	if err := mayRevoke(tx, r, a); err != nil {
		return reply{}, err
	}
	rev := db.Revocation{ID: uuid.NewString(), AMID: target, Reason: string(body.Reason), By: r.by.amid, At: r.now, Notes: body.Notes, Strict: r.by.strict}
	if body.Statement != "" {
		v, err := readStatement(body.Statement)
		if err != nil {
			return reply{}, err
		}
		if v.AMID != target {
			return reply{}, wire.Invalid("statement: is of %s", v.AMID)
		}
		return revokeByStatement(tx, v, rev, r.now)
	}
	if err := tx.Revoke(rev); err != nil {
		return reply{}, alreadyRevoked(err)
	}
	return reply{body: wire.RevokeReply{Success: true, RevocationID: &rev.ID}}, nil
}

func alreadyRevoked(err error) error {
	if errors.Is(err, db.ErrDuplicate) {
		return wire.Errorf(http.StatusConflict, wire.CodeConflict, "Agent is already revoked")
	}
	return err
}

// mayRevoke lets an agent end itself, and the administrator of its organisation end it.
// Whoever saw a timestamp of the administrator could put any agent beside it, so that
// ends no agent which takes no such signature for itself.
func mayRevoke(tx *db.Tx, r *request, target db.Agent) error {
	if r.by.amid == target.AMID {
		return nil
	}
	o, err := tx.MemberOf(target.AMID)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return err
	}
	if err != nil || o.Admin != r.by.amid || o.Health.State != organization.Verified {
		return wire.Errorf(http.StatusForbidden, wire.CodeForbidden, "Only the agent itself or the administrator of its organization may revoke it")
	}
	if target.Strict && !r.by.strict {
		return wire.Errorf(http.StatusUnauthorized, wire.CodeSignatureRequired,
			"%sto revoke this agent takes a signature over the whole request: the header %s", wire.SignatureFailed, wire.SignatureHeader)
	}
	return nil
}

// readStatement reads and verifies the base64 of a statement.
func readStatement(text string) (*identity.Revocation, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, wire.Invalid("statement: want base64")
	}
	v, err := identity.ParseRevocation(raw)
	if errors.Is(err, identity.ErrSignature) {
		return nil, wire.Unsigned("the statement does not verify")
	}
	if err != nil {
		return nil, wire.Invalid("statement: want the bytes of session.md §2.8: %.100s", err)
	}
	return v, nil
}

// revokeByStatement ends the agent that signed the statement, and keeps it for peers.
// One that is ended already is not refused if the statement is news.
func revokeByStatement(tx *db.Tx, v *identity.Revocation, rev db.Revocation, now time.Time) (reply, error) {
	rev.Strict = true
	fresh, err := tx.PutStatement(v, now)
	if err != nil {
		return reply{}, err
	}
	err = tx.Revoke(rev)
	if errors.Is(err, db.ErrDuplicate) && fresh {
		// It may be there by a signature that covered no request. Now it stays.
		err = tx.ConfirmRevocation(v.AMID)
		if err == nil {
			old, err := tx.Revocation(v.AMID)
			return reply{body: wire.RevokeReply{Success: true, RevocationID: &old.ID}}, err
		}
	}
	if err != nil {
		return reply{}, alreadyRevoked(err)
	}
	return reply{body: wire.RevokeReply{Success: true, RevocationID: &rev.ID}}, nil
}

// reasonOf are the reasons of statements in the words of 0.2.
var reasonOf = map[identity.RevocationReason]wire.Reason{
	identity.Superseded: wire.ReasonSuperseded, identity.Compromised: wire.ReasonKeyCompromise, identity.Retired: wire.ReasonCessation,
}

func (s *Server) takeStatement(r *request) (reply, error) {
	body, err := decode[wire.StatementRequest](r)
	if err != nil {
		return reply{}, err
	}
	v, err := readStatement(body.Statement)
	if err != nil {
		return reply{}, err
	}
	rev := db.Revocation{ID: uuid.NewString(), AMID: v.AMID, Reason: string(reasonOf[v.Reason]), By: v.AMID, At: r.now}
	var out reply
	err = r.db.Write(r.Context(), func(tx *db.Tx) error {
		if _, err := tx.Agent(v.AMID); err != nil {
			return orNotFound(err, "Agent not found")
		}
		out, err = revokeByStatement(tx, v, rev, r.now)
		return err
	})
	return out, err
}

func (s *Server) statement(r *request) (reply, error) {
	who, err := wire.ParseAMID(r.PathValue("amid"))
	if err != nil {
		return reply{}, wire.Invalid("%s", err)
	}
	var raw []byte
	err = r.db.View(r.Context(), func(tx *db.Tx) (err error) {
		raw, err = tx.Statement(who)
		return err
	})
	if err != nil {
		return reply{}, orNotFound(err, "this key made no statement")
	}
	return reply{body: wire.StatementReply{AMID: who.String(), Statement: base64.StdEncoding.EncodeToString(raw)}}, nil
}

// status is how it is with an agent, registered or not.
func status(tx *db.Tx, who identity.AMID) (wire.RevocationStatus, error) {
	out := wire.RevocationStatus{AMID: who.String()}
	rev, err := tx.Revocation(who)
	if errors.Is(err, db.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	shown := showRevocation(rev)
	out.Revoked, out.Revocation = true, &shown
	return out, nil
}

func showRevocation(r db.Revocation) wire.Revocation {
	return wire.Revocation{ID: r.ID, AMID: r.AMID.String(), Reason: wire.Reason(r.Reason), RevokedBy: r.By.String(),
		RevokedAt: wire.Time{Time: r.At}, Notes: r.Notes}
}

func (s *Server) revocation(r *request) (reply, error) {
	who, err := wire.ParseAMID(r.URL.Query().Get("amid"))
	if err != nil {
		return reply{}, wire.Invalid("amid: %s", err)
	}
	var out wire.RevocationStatus
	err = r.db.View(r.Context(), func(tx *db.Tx) (err error) {
		out, err = status(tx, who)
		return err
	})
	return reply{body: out}, err
}

// revocationsOf answers about many at once. When the database does not answer it says
// so, and not that nobody is revoked (AgentMesh §8, 38).
func (s *Server) revocationsOf(r *request) (reply, error) {
	body, err := decode[wire.BulkRequest](r)
	if err != nil {
		return reply{}, err
	}
	if len(body.AMIDs) > wire.MaxBulk {
		return reply{}, wire.Invalid("Maximum %d AMIDs per request", wire.MaxBulk)
	}
	list := make([]identity.AMID, len(body.AMIDs))
	for i, text := range body.AMIDs {
		if list[i], err = wire.ParseAMID(text); err != nil {
			return reply{}, wire.Invalid("amids: %s", err)
		}
	}
	out := wire.BulkReply{Revocations: []wire.RevocationStatus{}, TotalChecked: len(list), SignedReply: s.signedReply(r)}
	err = r.db.View(r.Context(), func(tx *db.Tx) error {
		for _, who := range list {
			one, err := status(tx, who)
			if err != nil {
				return err
			}
			if one.Revoked {
				out.TotalRevoked++
			}
			out.Revocations = append(out.Revocations, one)
		}
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	return s.signed(out)
}

// The pages of the lists.
const (
	defaultRevocations = 1000
	maxRevocations     = 10_000
	maxChanges         = 1000
)

func (s *Server) revocations(r *request) (reply, error) {
	q := r.URL.Query()
	limit, err := pageNumber(q.Get("limit"), defaultRevocations, 0, maxRevocations)
	if err != nil {
		return reply{}, wire.Invalid("limit: %s", err)
	}
	offset, err := pageNumber(q.Get("offset"), 0, 0, 1<<31-1)
	if err != nil {
		return reply{}, wire.Invalid("offset: %s", err)
	}
	out := wire.RevocationList{Revocations: []wire.Revocation{}, LastUpdated: wire.Time{Time: r.now},
		NextUpdate: wire.Time{Time: r.now.Add(certificate.NextUpdate)}, SignedReply: s.signedReply(r)}
	err = r.db.View(r.Context(), func(tx *db.Tx) error {
		list, total, err := tx.Revocations(limit, offset)
		out.Total = total
		for _, rev := range list {
			out.Revocations = append(out.Revocations, showRevocation(rev))
		}
		return err
	})
	if err != nil {
		return reply{}, err
	}
	return s.signed(out)
}

// revocationsSince is for whoever keeps a list of its own: a relay that refuses revoked
// agents asks now and then for what is new.
func (s *Server) revocationsSince(r *request) (reply, error) {
	q := r.URL.Query()
	limit, err := pageNumber(q.Get("limit"), maxChanges, 1, maxChanges)
	if err != nil {
		return reply{}, wire.Invalid("limit: %s", err)
	}
	since := int64(0)
	if text := q.Get("since"); text != "" {
		if since, err = strconv.ParseInt(text, 10, 64); err != nil || since < 0 {
			return reply{}, wire.Invalid("since: want the cursor of an earlier answer")
		}
	}
	out := wire.RevocationFeed{Changes: []wire.RevocationChange{}, Cursor: since, SignedReply: s.signedReply(r)}
	err = r.db.View(r.Context(), func(tx *db.Tx) error {
		log, err := tx.RevocationsSince(since, limit+1)
		out.More = len(log) > limit
		for _, l := range log[:min(len(log), limit)] {
			out.Changes = append(out.Changes, showChange(l))
			out.Cursor = l.Number
		}
		return err
	})
	if err != nil {
		return reply{}, err
	}
	return s.signed(out)
}

func showChange(l db.LoggedRevocation) wire.RevocationChange {
	c := wire.RevocationChange{AMID: l.AMID.String()}
	if l.Revocation != nil {
		c.Revoked, c.Reason, c.RevokedAt = true, wire.Reason(l.Revocation.Reason), &wire.Time{Time: l.Revocation.At}
		c.Statement = base64.StdEncoding.EncodeToString(l.Statement)
	}
	return c
}

package gateway

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"amesh/gateway/amtp"
	"amesh/gateway/schema"
	"amesh/gateway/store"
)

// send takes a message: POST /v1/messages. With the answer it is on disk.
func (s *Server) send(r *request) (reply, error) {
	s.metrics.Taking(1)
	defer s.metrics.Taking(-1)
	if v := r.Header.Get("X-AMTP-Version"); v != "" && v != amtp.Version {
		return reply{}, amtp.Errorf(http.StatusBadRequest, amtp.CodeUnsupportedVersion, "X-AMTP-Version: this gateway speaks %s", amtp.Version).
			With("supported_versions", []string{amtp.Version})
	}
	m, err := amtp.Parse(r.raw, s.cfg.rules(r.now))
	if err != nil {
		return reply{}, err
	}
	from, err := s.standing(r, m)
	if err != nil {
		return reply{}, err
	}
	if err := s.admit(r, m, from); err != nil {
		return reply{}, err
	}
	if err := s.acceptable(m); err != nil {
		return reply{}, err
	}
	n := store.NewMessage{
		Message: m, Origin: from.origin, KeyTTL: s.cfg.KeyTTL, Accepted: r.now,
		Verification: from.verification, FirstAnswer: s.cfg.FirstAnswer,
	}
	if m.KeyDerived {
		n.KeyTTL = s.cfg.DerivedWindow
	}
	var warnings []schema.Problem
	if n.Recipients, warnings, err = s.recipients(r, m, from); err != nil {
		return reply{}, err
	}
	receipt, err := s.take(r, n)
	switch {
	case errors.Is(err, store.ErrKeyConflict):
		return reply{}, amtp.Errorf(http.StatusConflict, amtp.CodeIdempotencyConflict,
			"this idempotency_key belongs to a message with other content: take a new key for a new message")
	case errors.Is(err, store.ErrIDConflict):
		return reply{}, amtp.Errorf(http.StatusConflict, amtp.CodeMessageIDConflict,
			"this message_id belongs to another message: take a new one, or none")
	case errors.Is(err, store.ErrFull):
		return reply{}, amtp.Errorf(http.StatusBadRequest, amtp.CodeValidationFailed,
			"more than %d recipients under one idempotency_key: take a new key and a new message_id for further ones", amtp.MaxRecipients)
	case err != nil:
		return reply{}, err
	}
	return s.sent(r, m, receipt, warnings)
}

// take puts a message on disk. One of another domain that fails for everybody at the door is
// answered and not kept, unless it has come before: kept, it would hold its id and its key
// here, and whoever has had a message could take the id of it from its sender.
func (s *Server) take(r *request, n store.NewMessage) (store.Receipt, error) {
	m := n.Message
	if m.Sender.Domain == s.cfg.Domain || slices.ContainsFunc(n.Recipients, func(to store.NewRecipient) bool { return to.State != amtp.Failed }) {
		return r.store.Accept(r.Context(), n)
	}
	switch before, err := r.store.Message(r.Context(), m.MessageID); {
	case err == nil && before.Origin == n.Origin && before.Sender == m.Sender.String():
		return r.store.Accept(r.Context(), n)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return store.Receipt{}, err
	}
	return undeliverable(n), nil
}

// undeliverable is the receipt for a message that is not kept, since nobody here gets it.
func undeliverable(n store.NewMessage) store.Receipt {
	at := n.Accepted.UTC()
	st := amtp.MessageStatus{
		MessageID: n.Message.MessageID, Status: amtp.Failed, CreatedAt: at, UpdatedAt: at, Verification: n.Verification,
		Recipients: make([]amtp.RecipientStatus, len(n.Recipients)),
	}
	for i, to := range n.Recipients {
		st.Recipients[i] = amtp.RecipientStatus{
			Address: to.Address.String(), Status: to.State, Timestamp: at, ErrorCode: to.Code, ErrorMessage: to.Text,
		}
	}
	return store.Receipt{MessageID: st.MessageID, Status: st}
}

// acceptable refuses what this gateway does with no message.
func (s *Server) acceptable(m *amtp.Message) error {
	if m.Sender.Domain == s.cfg.Domain {
		if m.Coordination != nil {
			return amtp.Errorf(http.StatusBadRequest, amtp.CodeUnsupportedCoordination,
				"this gateway runs no workflows: leave out coordination and write to the recipients")
		}
		return nil
	}
	for _, a := range m.Recipients {
		if a.Domain == s.cfg.Domain {
			return nil
		}
	}
	return amtp.Errorf(http.StatusForbidden, amtp.CodeRelayUnsupported,
		"neither the sender nor a recipient is of %s, and this gateway passes on nobody else's messages", s.cfg.Domain)
}

// addressed is a recipient, and the agent if it is one of ours.
type addressed struct {
	store.NewRecipient
	agent *store.Agent
}

// recipients says what becomes of a message for each of its recipients, once for each.
func (s *Server) recipients(r *request, m *amtp.Message, from standing) ([]store.NewRecipient, []schema.Problem, error) {
	to := make([]addressed, 0, len(m.Recipients))
	asked := m.Schema != ""
	for _, a := range m.Recipients {
		one := s.recipient(r, m, a)
		if slices.ContainsFunc(to, func(o addressed) bool { return o.Address == one.Address }) {
			continue // Bob@ and bob@ are one agent of ours
		}
		asked = asked || one.agent != nil && one.agent.RequiresSchema
		to = append(to, one)
	}
	var warnings []schema.Problem
	if asked {
		var err error
		if warnings, err = s.checkSchema(r, m, from, to); err != nil {
			return nil, nil, err
		}
	}
	list := make([]store.NewRecipient, len(to))
	for i, one := range to {
		list[i] = one.NewRecipient
	}
	return list, warnings, nil
}

func (s *Server) recipient(r *request, m *amtp.Message, a amtp.Address) addressed {
	to := addressed{NewRecipient: store.NewRecipient{Address: a}}
	switch {
	case a.Domain == s.cfg.Domain:
		agent, ok := r.agents.Search(r.Context(), a.Local)
		switch {
		case ok && agent.Mode == store.Push:
			to.Mode, to.State = store.Push, amtp.Queued
		case ok || s.cfg.TakeUnknown:
			to.Mode, to.State = store.Pull, amtp.Delivered
		default:
			to.State, to.Code, to.Text = amtp.Failed, amtp.CodeAgentUnknown, "no agent of this domain has that name"
		}
		if ok {
			to.agent = &agent
			to.Address, _ = amtp.ParseAddress(agent.Address) // in its own case of letters
		}
	case m.Sender.Domain == s.cfg.Domain:
		to.Mode, to.State = store.Remote, amtp.Queued
	default:
		to.State, to.Code, to.Text = amtp.Failed, amtp.CodeRelayUnsupported, "neither the sender nor this recipient is of "+s.cfg.Domain
	}
	return to
}

// checkSchema judges the payload for every recipient, and fails those who do not take it.
// When that is all of them, the message is refused as a whole.
func (s *Server) checkSchema(r *request, m *amtp.Message, from standing, to []addressed) ([]schema.Problem, error) {
	q := schema.Request{
		Schema: m.Schema, Payload: m.Payload, Sender: m.Sender.String(), Proven: from.proven(),
		Recipients: make([]schema.Recipient, len(to)),
	}
	if !amtp.ValidSchema(m.Schema) {
		q.Schema = "" // read leniently: of a registry that is not AGNTCY's, and nothing to us
	}
	for i, one := range to {
		q.Recipients[i].Remote = one.Mode == store.Remote
		if one.agent != nil {
			q.Recipients[i].Requires, q.Recipients[i].Supported = one.agent.RequiresSchema, one.agent.Schemas
		}
	}
	report, err := r.schemas.Check(r.Context(), q)
	if errors.Is(err, schema.ErrUnavailable) {
		e := amtp.Errorf(http.StatusServiceUnavailable, amtp.CodeSchemaCheckFailed, "the schema registry does not answer: try again")
		e.RetryAfter = s.limits.RetryAfter
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	var warnings []schema.Problem
	refused := 0
	for i, d := range report.Decisions {
		for _, w := range d.Warnings {
			if !slices.ContainsFunc(warnings, func(o schema.Problem) bool { return o.Code == w.Code && o.Message == w.Message }) {
				warnings = append(warnings, w)
			}
		}
		if d.Accept {
			continue
		}
		refused++
		to[i].Mode, to[i].State, to[i].Code, to[i].Text = store.None, amtp.Failed, amtp.Code(d.Code), refusedText(d)
	}
	if refused == len(to) {
		return nil, schemaRefusal(report.Decisions[0])
	}
	return warnings, nil
}

// schemaRefusal is the error for a message whose payload nobody takes.
func schemaRefusal(d schema.Decision) *amtp.Error {
	e := amtp.Errorf(http.StatusBadRequest, amtp.CodeMessageValidationFailed, "%s", refusedText(d)).
		With("validation_error", refusedText(d)).With("schema_code", d.Code).With("amtp_code", amtp.CodeSchemaValidationFailed)
	if len(d.Supported) > 0 {
		e = e.With("supported", d.Supported)
	}
	if len(d.Errors) > 0 {
		e = e.With("errors", d.Errors)
	}
	return e
}

// refusedText says why a payload is not taken, with its first problem and what would be.
func refusedText(d schema.Decision) string {
	text := d.Text
	if len(d.Errors) > 0 {
		text += ": " + strings.TrimPrefix(d.Errors[0].Field+": "+d.Errors[0].Message, ": ")
	}
	if len(d.Supported) > 0 {
		text += " (supported: " + strings.Join(d.Supported, ", ") + ")"
	}
	return text
}

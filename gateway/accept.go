package gateway

import (
	"errors"
	"net/http"

	"amesh/gateway/amtp"
	"amesh/gateway/store"
)

// send takes a message: POST /v1/messages. With the answer it is on disk.
func (s *Server) send(r *request) (reply, error) {
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
	n.Recipients = s.recipients(r, m)
	receipt, err := r.store.Accept(r.Context(), n)
	switch {
	case errors.Is(err, store.ErrKeyConflict):
		return reply{}, amtp.Errorf(http.StatusConflict, amtp.CodeIdempotencyConflict,
			"this idempotency_key belongs to a message with other content: take a new key for a new message")
	case errors.Is(err, store.ErrIDConflict):
		return reply{}, amtp.Errorf(http.StatusConflict, amtp.CodeMessageIDConflict,
			"this message_id belongs to another message: take a new one, or none")
	case err != nil:
		return reply{}, err
	}
	return s.sent(r, m, receipt)
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

// recipients says what becomes of a message for each of its recipients, once for each.
func (s *Server) recipients(r *request, m *amtp.Message) []store.NewRecipient {
	list := make([]store.NewRecipient, 0, len(m.Recipients))
	for _, a := range m.Recipients {
		list = append(list, s.recipient(r, m, a))
	}
	return list
}

func (s *Server) recipient(r *request, m *amtp.Message, a amtp.Address) store.NewRecipient {
	to := store.NewRecipient{Address: a}
	switch {
	case a.Domain == s.cfg.Domain:
		return to
	case m.Sender.Domain == s.cfg.Domain:
		to.Mode, to.State = store.Remote, amtp.Queued
	default:
		to.State, to.Code, to.Text = amtp.Failed, amtp.CodeRelayUnsupported, "neither the sender nor this recipient is of "+s.cfg.Domain
	}
	return to
}

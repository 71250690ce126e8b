package delivery

import (
	"encoding/json"
	"strings"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/store"
)

// What marks the messages that a gateway writes itself.
const (
	// NoticeType is the response_type of a notice, and its payload's message_type.
	NoticeType = "delivery_failure"
	// autoSubmitted is a member of headers: nobody answers such a message by itself,
	// and nobody is told of its failure, so that none goes in circles (RFC 3834).
	autoSubmitted = "auto-submitted"
)

// notice is the payload of a message that tells a sender what was given up
// (AMTP §8.2.2).
type notice struct {
	Version           string         `json:"version"`
	MessageType       string         `json:"message_type"`
	OriginalMessageID string         `json:"original_message_id"`
	OriginalSubject   string         `json:"original_subject,omitempty"`
	FailedRecipients  []string       `json:"failed_recipients"`
	ErrorCode         amtp.Code      `json:"error_code"`
	ErrorMessage      string         `json:"error_message"`
	RetryCount        int            `json:"retry_count"`
	AcceptedAt        time.Time      `json:"accepted_at"`
	FinalAttempt      time.Time      `json:"final_attempt"`
	Recipients        []failedToGive `json:"recipients"`
}

type failedToGive struct {
	Address      string    `json:"address"`
	ErrorCode    amtp.Code `json:"error_code"`
	ErrorMessage string    `json:"error_message"`
	HTTPStatus   int       `json:"http_status,omitempty"`
	Attempts     int       `json:"attempts"`
}

// own is a message that the gateway writes.
type own struct {
	Version        string            `json:"version"`
	MessageID      string            `json:"message_id"`
	IdempotencyKey string            `json:"idempotency_key"`
	Timestamp      time.Time         `json:"timestamp"`
	Sender         string            `json:"sender"`
	Recipients     []string          `json:"recipients"`
	Subject        string            `json:"subject,omitempty"`
	Headers        map[string]string `json:"headers"`
	Payload        any               `json:"payload"`
	InReplyTo      string            `json:"in_reply_to"`
	ResponseType   string            `json:"response_type,omitempty"`
	WorkflowID     string            `json:"workflow_id,omitempty"`
}

// tell adds to outcomes what their sender gets to hear: of failures, or what a webhook
// replies.
func (s *Service) tell(j store.Job, outcomes []store.Outcome, results []tried, now time.Time) {
	s.notify(j, outcomes, now)
	for i, t := range results {
		if t.reply != nil && outcomes[i].State == amtp.Delivered {
			outcomes[i].Notice = s.reply(j, outcomes[i].Address, t.reply, now)
		}
	}
}

// notify adds one notice of all failures among outcomes to the first of them, if the
// sender is an agent of ours. There is none about messages that were written by
// themselves.
func (s *Service) notify(j store.Job, outcomes []store.Outcome, now time.Time) {
	n := notice{
		Version: amtp.Version, MessageType: NoticeType, OriginalMessageID: j.MessageID,
		AcceptedAt: j.Accepted.UTC(), FinalAttempt: now.UTC(),
	}
	at := -1
	for i, o := range outcomes {
		if o.State != amtp.Failed {
			continue
		}
		tries := j.Recipients[i].Attempts
		if !o.Untried {
			tries++
		}
		if at < 0 {
			at, n.ErrorCode, n.ErrorMessage = i, o.Code, o.Text
		}
		n.RetryCount = max(n.RetryCount, tries)
		n.FailedRecipients = append(n.FailedRecipients, o.Address)
		n.Recipients = append(n.Recipients, failedToGive{o.Address, o.Code, o.Text, o.HTTPStatus, tries})
	}
	if at < 0 {
		return
	}
	m, to, ok := s.answerable(j)
	if !ok || to.Mode == store.Remote || to.Mode == store.None {
		return // the sender's own gateway has to tell, or there is nobody
	}
	n.OriginalSubject = m.Subject
	outcomes[at].Notice = s.compose(j, to, now, own{
		Sender: store.Postmaster + s.cfg.Domain, Subject: "Delivery failed", Payload: n,
		ResponseType: NoticeType, WorkflowID: m.WorkflowID,
		Headers: map[string]string{autoSubmitted: "auto-replied", amtp.OriginalIDHeader: j.MessageID},
	}, "notice", strings.Join(n.FailedRecipients, " "), j.Queued.UTC().Format(time.RFC3339Nano))
}

// reply is the message with which an agent answered a push at once, for the sender of
// what was pushed; nil if nobody is there to get it.
func (s *Service) reply(j store.Job, agent string, payload json.RawMessage, now time.Time) *store.NewMessage {
	m, to, ok := s.answerable(j)
	if !ok {
		return nil
	}
	if to.Mode == store.None {
		if !s.cfg.UnknownPull {
			return nil
		}
		to = store.NewRecipient{Address: m.Sender, Mode: store.Pull, State: amtp.Delivered}
	}
	o := own{
		Sender: agent, Payload: payload, WorkflowID: m.WorkflowID,
		Headers: map[string]string{autoSubmitted: "auto-replied"},
	}
	if m.Coordination != nil || m.WorkflowID != "" {
		o.ResponseType = "workflow_response"
	}
	return s.compose(j, to, now, o, "reply", agent)
}

// answerable reads a job's message, and says whether and how its sender is told
// something.
func (s *Service) answerable(j store.Job) (*amtp.Message, store.NewRecipient, bool) {
	m, err := amtp.ReadDocument(j.Document)
	if err != nil {
		s.cfg.Log.Error("a stored message cannot be read", "id", j.MessageID, "err", err)
		return nil, store.NewRecipient{}, false
	}
	if m.ResponseType == NoticeType || automatic(m.Headers) {
		return nil, store.NewRecipient{}, false
	}
	return m, s.route(m.Sender), true
}

// route is how a message of ours gets to an address: not at all, if it is one of our
// domain that no agent has.
func (s *Service) route(to amtp.Address) store.NewRecipient {
	r := store.NewRecipient{Address: to, Mode: store.Remote, State: amtp.Queued}
	if to.Domain != s.cfg.Domain {
		return r
	}
	agent, ok := s.cfg.Agents.Lookup(to)
	switch {
	case !ok:
		return store.NewRecipient{}
	case agent.Mode == store.Push:
		r.Mode = store.Push
	default:
		r.Mode, r.State = store.Pull, amtp.Delivered
	}
	return r
}

// compose makes a message of ours about j. Its id and key are made from name, so that
// writing it down twice makes one.
func (s *Service) compose(j store.Job, to store.NewRecipient, now time.Time, o own, name ...string) *store.NewMessage {
	o.Version, o.Timestamp, o.InReplyTo = amtp.Version, now.UTC().Truncate(time.Second), j.MessageID
	o.MessageID, o.IdempotencyKey = amtp.ForRecipient(j.MessageID, strings.Join(name, "\x00"))
	o.Recipients = []string{to.Address.String()}
	body, err := json.Marshal(o)
	if err != nil {
		s.cfg.Log.Error("a notice or a reply cannot be written", "id", j.MessageID, "err", err)
		return nil
	}
	m, err := amtp.Parse(body, amtp.Rules{Now: now})
	if err != nil { // an agent's reply may be anything
		s.cfg.Log.Warn("a notice or a reply is no message", "id", j.MessageID, "from", o.Sender, "err", err)
		return nil
	}
	return &store.NewMessage{
		Message: m, Origin: s.cfg.Domain, KeyTTL: s.cfg.Limits.NoticeTTL, Accepted: now,
		Recipients:   []store.NewRecipient{to},
		Verification: &amtp.Verification{Result: amtp.TrustedInternal, Domain: s.cfg.Domain},
	}
}

// automatic reports whether headers say that a message was written by itself.
func automatic(headers json.RawMessage) bool {
	var h map[string]json.RawMessage
	if json.Unmarshal(headers, &h) != nil {
		return false
	}
	for name, value := range h {
		var text string
		if strings.EqualFold(name, autoSubmitted) && json.Unmarshal(value, &text) == nil {
			return !strings.EqualFold(text, "no")
		}
	}
	return false
}

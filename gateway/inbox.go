package gateway

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/store"
)

// InboxConfig is how agents see their inboxes. The zero value is the default.
type InboxConfig struct {
	// OwnRecipients shows a reader its own address among the recipients, and nobody else's;
	// else all of them are shown.
	OwnRecipients bool
	// Page is how many messages an answer has at most where the reader does not say.
	// Default 1,000.
	Page int
	// Bytes is about how long the messages in an answer are together; the rest comes with the
	// next. One message is always there, however long. Default 16 MiB. It holds for lists of
	// messages too.
	Bytes int
	// EmptyIsNull writes an inbox without messages as null, as agentry does, and not as [].
	EmptyIsNull bool
}

const (
	// inboxMost is how many messages a reader may ask for at a time.
	inboxMost = 1000
	// inboxBytes is the default of InboxConfig.Bytes.
	inboxBytes = 16 << 20
)

// inboxSubject is what agents do that fetch their messages.
func (s *Server) inboxSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodGet, path: "/v1/inbox/{recipient}", may: anyone, answer: s.inbox},
		route{method: http.MethodDelete, path: "/v1/inbox/{recipient}/{id}", may: anyone, answer: s.acknowledge},
	)
}

// owner is the agent whose inbox a request names, if it is the one who asks. That there is no
// such agent is not told to anybody else.
func (s *Server) owner(r *request) (store.Agent, error) {
	named := r.PathValue("recipient")
	key := cmp.Or(auth.Bearer(r.Header), r.Header.Get(s.cfg.Auth.KeyHeader))
	if key == "" {
		return store.Agent{}, amtp.Errorf(http.StatusUnauthorized, amtp.CodeMissingAuthorization, "Agent API key required for inbox access").
			With("agent", named).With("required_header", "Authorization: Bearer <api-key>")
	}
	denied := amtp.Errorf(http.StatusForbidden, amtp.CodeAccessDenied, "Invalid API key for agent").With("agent", named)
	address, err := amtp.ParseAddress(named)
	if err != nil || address.Domain != s.cfg.Domain {
		return store.Agent{}, s.failed(r, denied)
	}
	if a, ok := r.agents.Confirm(r.Context(), address.Local, key); ok {
		return a, s.takeReading(r, a)
	}
	by, err := s.caller(r)
	if e, ok := errors.AsType[*amtp.Error](err); ok && e.Status != http.StatusUnauthorized {
		return store.Agent{}, e
	}
	// Whoever may speak for the whole domain reads no inbox: it is one agent's.
	if err != nil || by.Kind != auth.Client || by.Agent == "" || !by.SpeaksFor(address.Local, address.Domain) || !by.May(auth.ScopeRead) {
		return store.Agent{}, denied
	}
	a, ok := r.agents.Search(r.Context(), address.Local)
	if !ok {
		return store.Agent{}, denied
	}
	return a, s.takeReading(r, a)
}

// inboxPage is a page of an inbox.
type inboxPage struct {
	Recipient string   `json:"recipient"`
	Messages  rawArray `json:"messages"`
	// Count and MessageCount are the same: one is agentry's word, one the specification's.
	Count        int  `json:"count"`
	MessageCount int  `json:"message_count"`
	HasMore      bool `json:"has_more"`
	// Next is what after= is to be for the next page.
	Next string `json:"next,omitempty"`
}

// rawArray is JSON values that are written as they stand, null if it is nil.
type rawArray [][]byte

// MarshalJSON implements json.Marshaler.
func (a rawArray) MarshalJSON() ([]byte, error) {
	if a == nil {
		return []byte("null"), nil
	}
	size := 2
	for _, v := range a {
		size += len(v) + 1
	}
	out := append(make([]byte, 0, size), '[')
	for i, v := range a {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, v...)
	}
	return append(out, ']'), nil
}

// inbox is a page of an agent's messages, oldest first.
func (s *Server) inbox(r *request) (reply, error) {
	a, err := s.owner(r)
	if err != nil {
		return reply{}, err
	}
	page, err := s.inboxQuery(r.URL.Query())
	if err != nil {
		return reply{}, err
	}
	found, err := s.readInbox(r, a, page)
	if err != nil {
		return reply{}, err
	}
	r.agents.Seen(a)
	out := inboxPage{Recipient: a.Address, Count: len(found.Messages), MessageCount: len(found.Messages), HasMore: found.More}
	if len(found.Messages) > 0 || !s.cfg.Inbox.EmptyIsNull {
		out.Messages = make(rawArray, len(found.Messages))
	}
	for i, m := range found.Messages {
		recipients := m.Recipients
		if s.cfg.Inbox.OwnRecipients {
			recipients = []string{a.Address}
		}
		out.Messages[i] = amtp.Assemble(m.Document, recipients)
	}
	if found.More {
		out.Next = found.Messages[len(found.Messages)-1].MessageID
	}
	return reply{body: out}, nil
}

// readInbox reads a page of about so many bytes as may be.
func (s *Server) readInbox(r *request, a store.Agent, page store.Page) (store.InboxPage, error) {
	page.Bytes = int64(s.cfg.Inbox.Bytes)
	all, err := r.store.Inbox(r.Context(), a.Address, page)
	if errors.Is(err, store.ErrNotFound) {
		return all, amtp.Errorf(http.StatusNotFound, amtp.CodeMessageNotFound, "after: this inbox has had no such message, or it is there no more: begin again without it")
	}
	if err != nil {
		return all, err
	}
	return all, s.holdPage(r, all.Messages)
}

// inboxQuery reads which page is wanted.
func (s *Server) inboxQuery(v url.Values) (store.Page, error) {
	var p store.Page
	var err error
	if p.Limit, p.Offset, err = pageOf(v, s.cfg.Inbox.Page, inboxMost); err != nil {
		return p, err
	}
	if p.Since, err = sinceOf(v); err != nil {
		return p, err
	}
	if t := v.Get("after"); t != "" {
		if p.After, err = amtp.CheckMessageID(t); err != nil {
			return p, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidMessageID, "After must be the id of a message")
		}
	}
	return p, nil
}

// acknowledge takes a message out of an agent's inbox.
func (s *Server) acknowledge(r *request) (reply, error) {
	a, err := s.owner(r)
	if err != nil {
		return reply{}, err
	}
	named := r.PathValue("id")
	id, err := amtp.CheckMessageID(named)
	if err == nil {
		err = r.store.Ack(r.Context(), a.Address, id, r.now)
	} else {
		err = store.ErrNotFound // no message has such an id
	}
	if errors.Is(err, store.ErrNotFound) {
		return reply{}, amtp.Errorf(http.StatusNotFound, amtp.CodeMessageNotFound, "Message not found or already acknowledged").
			With("error", "not in the inbox of "+a.Address)
	}
	if err != nil {
		return reply{}, err
	}
	r.agents.Seen(a)
	return reply{body: struct {
		Message   string    `json:"message"`
		Recipient string    `json:"recipient"`
		MessageID string    `json:"message_id"`
		Status    string    `json:"status"`
		Timestamp time.Time `json:"timestamp"`
	}{"Message acknowledged successfully", a.Address, id, "acknowledged", r.now.UTC()}}, nil
}

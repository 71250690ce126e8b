package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/store"
)

// messageSubject is what becomes of messages: they are taken, and their senders and
// recipients see where they are.
func (s *Server) messageSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodPost, path: "/v1/messages", may: anyone, answer: s.send, body: s.limits.MessageBytes},
		route{method: http.MethodGet, path: "/v1/messages", may: anyone, answer: s.list},
		route{method: http.MethodGet, path: "/v1/messages/{id}", may: anyone, answer: s.message},
		route{method: http.MethodGet, path: "/v1/messages/{id}/status", may: anyone, answer: s.status},
		route{method: http.MethodGet, path: "/v1/messages/{id}/attempts", may: anyone, answer: s.attempts},
	)
}

// message is a message, for those whom it concerns.
func (s *Server) message(r *request) (reply, error) {
	m, err := s.visible(r)
	if err != nil {
		return reply{}, err
	}
	return reply{body: json.RawMessage(amtp.Assemble(m.Document, m.Recipients))}, nil
}

// status is where a message is. It waits, if the client prefers that, until the message is
// at an end for all its recipients.
func (s *Server) status(r *request) (reply, error) {
	m, err := s.visible(r)
	if err != nil {
		return reply{}, err
	}
	most, ok := preferred(r.Header)
	if !ok {
		return reply{body: m.Status}, nil
	}
	most = min(most, s.limits.ReplyWait)
	w := waiting{id: m.MessageID, status: m.Status}
	if err := s.wait(r, &w, most); err != nil {
		return reply{}, err
	}
	return reply{body: w.status, header: applied(most)}, nil
}

// attempt is a try to deliver, as the API tells it.
type attempt struct {
	Address      string     `json:"address"`
	Timestamp    time.Time  `json:"timestamp"`
	Status       amtp.State `json:"status"`
	ErrorCode    amtp.Code  `json:"error_code,omitempty"`
	ErrorMessage string     `json:"error_message,omitempty"`
	HTTPStatus   int        `json:"http_status,omitempty"`
	Milliseconds float64    `json:"duration_ms"`
}

func newAttempt(a store.Attempt) attempt {
	return attempt{a.Address, a.At.UTC(), a.State, a.Code, a.Text, a.HTTPStatus, float64(a.Took.Microseconds()) / 1000}
}

// attempts are all tries to deliver a message, oldest first.
func (s *Server) attempts(r *request) (reply, error) {
	m, err := s.visible(r)
	if err != nil {
		return reply{}, err
	}
	tries, err := r.store.Attempts(r.Context(), m.MessageID)
	if err != nil {
		return reply{}, err
	}
	list := make([]attempt, len(tries))
	for i, a := range tries {
		list[i] = newAttempt(a)
	}
	return reply{body: struct {
		MessageID string    `json:"message_id"`
		Attempts  []attempt `json:"attempts"`
		Count     int       `json:"count"`
	}{m.MessageID, list, len(list)}}, nil
}

// visible is the message that a request names, if its caller may see it. That of others
// is as unknown as one that does not exist: whoever knows an id learns nothing by it.
func (s *Server) visible(r *request) (store.Stored, error) {
	id, err := amtp.CheckMessageID(r.PathValue("id"))
	if err != nil {
		return store.Stored{}, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidMessageID, "Invalid message ID format")
	}
	by, err := s.reader(r)
	if err != nil {
		return store.Stored{}, err
	}
	m, err := r.store.Message(r.Context(), id)
	if errors.Is(err, store.ErrNotFound) || err == nil && !s.concerns(by, m) {
		return store.Stored{}, amtp.Errorf(http.StatusNotFound, amtp.CodeMessageNotFound, "Message not found")
	}
	return m, err
}

// reader is who reads; without public reads somebody has to say who it is.
func (s *Server) reader(r *request) (auth.Caller, error) {
	by, err := s.caller(r)
	if err != nil {
		return by, err
	}
	if s.cfg.PublicReads {
		return by, nil
	}
	if by.Kind == auth.Nobody {
		return by, amtp.Errorf(http.StatusUnauthorized, amtp.CodeMissingAuthorization,
			"say who asks: Authorization: Bearer with the agent's API key, or the admin key")
	}
	if !by.May(auth.ScopeRead) {
		return by, amtp.Errorf(http.StatusForbidden, amtp.CodeAccessDenied, "this key may not read")
	}
	return by, nil
}

// concerns reports whether a message is the reader's business: its sender's and its
// recipients', the gateway's that brought it, and administrators'. A sender or recipient who had
// an agent's name before it is somebody else.
func (s *Server) concerns(by auth.Caller, m store.Stored) bool {
	if s.cfg.PublicReads || by.Kind == auth.Admin {
		return true
	}
	if m.Accepted.Before(by.Since) {
		return false
	}
	if speaksFor(by, m.Sender) {
		return true
	}
	if by.Kind == auth.Gateway && by.Domain == m.Origin {
		return true
	}
	for _, a := range m.Recipients {
		if speaksFor(by, a) {
			return true
		}
	}
	return false
}

func speaksFor(by auth.Caller, address string) bool {
	a, err := amtp.ParseAddress(address)
	return err == nil && by.SpeaksFor(a.Local, a.Domain)
}

const (
	// listLimit is how many messages a page has where nobody says, and listMost at most.
	listLimit, listMost = 100, 1000
)

// list is a page of the caller's messages, newest first.
func (s *Server) list(r *request) (reply, error) {
	q, err := listQuery(r.URL.Query())
	if err != nil {
		return reply{}, err
	}
	by, err := s.reader(r)
	if err != nil {
		return reply{}, err
	}
	q.Bytes = int64(s.cfg.Inbox.Bytes)
	var found store.Listing
	switch {
	case by.Kind == auth.Nobody: // public reads are for those who know an id
	case by.Kind == auth.Admin:
		found, err = r.store.List(r.Context(), q)
	case by.Agent != "":
		q.Party = by.Agent
		if by.Since.After(q.Since) {
			q.Since = by.Since
		}
		found, err = r.store.List(r.Context(), q)
	case q.Sender != "" && speaksFor(by, q.Sender), q.Recipient != "" && speaksFor(by, q.Recipient):
		found, err = r.store.List(r.Context(), q)
	default:
		return reply{}, amtp.Errorf(http.StatusForbidden, amtp.CodeAccessDenied,
			"name a sender or a recipient of %s: the messages of others are not listed", by.Domain)
	}
	if err != nil {
		return reply{}, err
	}
	if err := s.holdPage(r, found.Messages); err != nil {
		return reply{}, err
	}
	if n := len(found.Messages); n > 0 && q.Offset+n < found.Total {
		q.Limit = min(q.Limit, n) // the next page begins at offset + limit
	}
	body := struct {
		Messages []json.RawMessage `json:"messages"`
		Total    int               `json:"total"`
		Limit    int               `json:"limit"`
		Offset   int               `json:"offset"`
	}{make([]json.RawMessage, len(found.Messages)), found.Total, q.Limit, q.Offset}
	for i, m := range found.Messages {
		if body.Messages[i], err = listed(m); err != nil {
			return reply{}, err
		}
	}
	return reply{body: body}, nil
}

// listed is a message in a list: its own members, and beside them where it is.
func listed(m store.Stored) (json.RawMessage, error) {
	tail, err := json.Marshal(struct {
		Status   amtp.State         `json:"status"`
		Delivery amtp.MessageStatus `json:"delivery"`
	}{m.Status.Status, m.Status})
	if err != nil {
		return nil, err
	}
	whole := amtp.Assemble(m.Document, m.Recipients)
	whole[len(whole)-1] = ','
	return append(whole, tail[1:]...), nil
}

// listQuery reads the filters of a list.
func listQuery(v url.Values) (store.Query, error) {
	var q store.Query
	bad := func(code amtp.Code, text string) (store.Query, error) {
		return q, amtp.Errorf(http.StatusBadRequest, code, "%s", text)
	}
	var err error
	if q.Limit, q.Offset, err = pageOf(v, listLimit, listMost); err != nil {
		return q, err
	}
	if q.Since, err = sinceOf(v); err != nil {
		return q, err
	}
	if t := v.Get("status"); t != "" {
		if q.Status = amtp.State(t); !q.Status.Valid() {
			return bad(amtp.CodeInvalidStatus, "Status must be one of pending, queued, delivering, delivered, failed, retrying")
		}
	}
	if q.Sender, err = filterAddress(v.Get("sender")); err != nil {
		return bad(amtp.CodeInvalidSender, "Sender must be an address")
	}
	if q.Recipient, err = filterAddress(v.Get("recipient")); err != nil {
		return bad(amtp.CodeInvalidRecipient, "Recipient must be an address")
	}
	return q, nil
}

func filterAddress(t string) (string, error) {
	if t == "" {
		return "", nil
	}
	a, err := amtp.ParseAddress(t)
	return a.String(), err
}

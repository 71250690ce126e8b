package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Message is a message in an inbox. Document is all of it.
type Message struct {
	ID       string          `json:"message_id"`
	Time     time.Time       `json:"timestamp,omitzero"`
	Sender   string          `json:"sender"`
	Subject  string          `json:"subject,omitempty"`
	Schema   string          `json:"schema,omitempty"`
	ReplyTo  string          `json:"in_reply_to,omitempty"`
	Payload  json.RawMessage `json:"payload,omitempty"`
	Document json.RawMessage `json:"-"`
}

// Page selects messages of an inbox.
type Page struct {
	Limit, Offset int
	Since         time.Time
	After         string
}

// Inbox is a page of an inbox, oldest first.
type Inbox struct {
	Recipient string
	Messages  []Message
	More      bool
}

// Inbox reads an agent's inbox with that agent's key.
func (c *Client) Inbox(ctx context.Context, address string, p Page) (Inbox, error) {
	query := values("after", p.After)
	if p.Limit > 0 {
		query.Set("limit", strconv.Itoa(p.Limit))
	}
	if p.Offset > 0 {
		query.Set("offset", strconv.Itoa(p.Offset))
	}
	if !p.Since.IsZero() {
		query.Set("since", p.Since.UTC().Format(time.RFC3339Nano))
	}
	got, err := get[struct {
		Recipient string            `json:"recipient"`
		Messages  []json.RawMessage `json:"messages"`
		More      bool              `json:"has_more"`
	}](ctx, c, query, "inbox", address)
	if err != nil {
		return Inbox{}, err
	}
	in := Inbox{Recipient: got.Recipient, More: got.More, Messages: make([]Message, len(got.Messages))}
	for i, raw := range got.Messages {
		if err := json.Unmarshal(raw, &in.Messages[i]); err != nil {
			return Inbox{}, ErrAnswer
		}
		in.Messages[i].Document = raw
	}
	return in, nil
}

// Ack takes a message out of an agent's inbox, with that agent's key.
func (c *Client) Ack(ctx context.Context, address, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: []string{"v1", "inbox", address, id}}, nil)
}

// NewMessage is a message to send.
type NewMessage struct {
	Version    string          `json:"version"`
	Key        string          `json:"idempotency_key,omitempty"`
	Sender     string          `json:"sender"`
	Recipients []string        `json:"recipients"`
	Subject    string          `json:"subject,omitempty"`
	Schema     string          `json:"schema,omitempty"`
	ReplyTo    string          `json:"in_reply_to,omitempty"`
	Payload    json.RawMessage `json:"payload"`
}

// Sent is what became of a message so far. Reply is there if one came in time.
type Sent struct {
	MessageStatus
	Reply json.RawMessage `json:"reply,omitempty"`
}

// Send hands a message over, with its sender's key. With wait, in whole seconds, the
// gateway answers when a reply has come or all recipients have failed, or that time is
// over. That some recipient has failed is no error.
func (c *Client) Send(ctx context.Context, m NewMessage, wait time.Duration) (Sent, error) {
	m.Version = "1.0"
	q := call{method: http.MethodPost, path: []string{"v1", "messages"}, body: m}
	if wait > 0 {
		q.prefer = "wait=" + strconv.Itoa(int(wait.Seconds()))
	}
	var s Sent
	err := c.do(ctx, q, &s)
	if no, ok := errors.AsType[*Error](err); ok && no.Status == http.StatusBadRequest && json.Unmarshal(no.body, &s) == nil && len(s.Recipients) > 0 {
		return s, nil // a result, not a refusal
	}
	return s, err
}

// Recipient is what became of a message for one recipient.
type Recipient struct {
	Address      string    `json:"address"`
	Status       string    `json:"status"`
	Time         time.Time `json:"timestamp,omitzero"`
	Attempts     int       `json:"attempts"`
	NextRetry    time.Time `json:"next_retry,omitzero"`
	ErrorCode    string    `json:"error_code,omitempty"`
	ErrorMessage string    `json:"error_message,omitempty"`
	Mode         string    `json:"delivery_mode,omitempty"`
	Acknowledged bool      `json:"acknowledged,omitempty"`
}

// MessageStatus is what became of a message.
type MessageStatus struct {
	MessageID  string      `json:"message_id"`
	Status     string      `json:"status"`
	Created    time.Time   `json:"created_at,omitzero"`
	Recipients []Recipient `json:"recipients"`
	// Sender is how far its sender is who it says it is; nil where nothing is known of it.
	Sender *Verification `json:"sender_verification,omitempty"`
}

// Verification says how far a sender is who it says it is.
type Verification struct {
	Result    string `json:"result"`
	Method    string `json:"method,omitempty"` // by what it was proven
	Domain    string `json:"domain,omitempty"` // which was proven, or claimed
	KeyID     string `json:"keyid,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	Policy    string `json:"policy,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// Status asks what became of a message.
func (c *Client) Status(ctx context.Context, id string) (MessageStatus, error) {
	return get[MessageStatus](ctx, c, nil, "messages", id, "status")
}

// Attempt is one try to deliver a message to a recipient.
type Attempt struct {
	Recipient    string    `json:"address"`
	Time         time.Time `json:"timestamp"`
	Status       string    `json:"status"`
	Code         string    `json:"error_code,omitempty"`
	Message      string    `json:"error_message,omitempty"`
	HTTPStatus   int       `json:"http_status,omitempty"`
	Milliseconds float64   `json:"duration_ms"`
}

// Attempts are the tries to deliver a message, oldest first.
func (c *Client) Attempts(ctx context.Context, id string) ([]Attempt, error) {
	got, err := get[struct {
		Attempts []Attempt `json:"attempts"`
	}](ctx, c, nil, "messages", id, "attempts")
	return got.Attempts, err
}

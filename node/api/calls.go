package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// listOf is how lists travel: an object, so that it can grow.
type listOf[T any] struct {
	Items []T `json:"items"`
}

// get asks for one thing.
func get[T any](ctx context.Context, c *Client, agent string, k call) (T, error) {
	k.method = http.MethodGet
	var out T
	err := c.do(ctx, agent, k, &out)
	return out, err
}

// post sends in and returns the answer.
func post[T any](ctx context.Context, c *Client, agent string, k call) (T, error) {
	k.method = http.MethodPost
	var out T
	err := c.do(ctx, agent, k, &out)
	return out, err
}

// nothing is the body of a write that has nothing to say.
type nothing struct{}

// Status implements Backend.
func (c *Client) Status(ctx context.Context, agent string) (Status, error) {
	return get[Status](ctx, c, agent, call{path: []string{"node"}})
}

// Identity implements Backend.
func (c *Client) Identity(ctx context.Context, agent string) (Identity, error) {
	return get[Identity](ctx, c, agent, call{path: []string{"identity"}})
}

// Peers implements Backend.
func (c *Client) Peers(ctx context.Context, agent string) ([]Peer, error) {
	l, err := get[listOf[Peer]](ctx, c, agent, call{path: []string{"peers"}})
	return l.Items, err
}

// Send implements Backend. A body over MaxBody is refused before it is sent.
func (c *Client) Send(ctx context.Context, agent string, r SendRequest, idempotencyKey string) (Message, error) {
	if len(r.Body) > MaxBody {
		return Message{}, BodyTooLarge(len(r.Body))
	}
	if r.Body == nil {
		r.Body = []byte{} // an empty body is a string on the wire, not null
	}
	k := call{path: []string{"messages"}, key: idempotencyKey, in: r}
	if r.Wait != "" {
		k.wait = time.Duration(r.TimeoutMS) * time.Millisecond
	}
	return post[Message](ctx, c, agent, k)
}

// Message implements Backend.
func (c *Client) Message(ctx context.Context, agent, id string, wait State, timeout time.Duration) (Message, error) {
	k := call{path: []string{"messages", id}}
	if wait != "" {
		k.wait = timeout
		k.query = url.Values{"wait": {string(wait)}, "timeout_ms": {strconv.FormatInt(timeout.Milliseconds(), 10)}}
	}
	return get[Message](ctx, c, agent, k)
}

// Messages implements Backend.
func (c *Client) Messages(ctx context.Context, agent string, limit int) ([]Message, error) {
	k := call{path: []string{"messages"}}
	if limit != 0 {
		k.query = url.Values{"limit": {strconv.Itoa(limit)}}
	}
	l, err := get[listOf[Message]](ctx, c, agent, k)
	return l.Items, err
}

// Cancel implements Backend.
func (c *Client) Cancel(ctx context.Context, agent, id string) (Message, error) {
	return post[Message](ctx, c, agent, call{path: []string{"messages", id, "cancel"}, in: nothing{}})
}

// Inbox implements Backend.
func (c *Client) Inbox(ctx context.Context, agent string, q InboxQuery) (InboxPage, error) {
	query := url.Values{}
	if q.All {
		query.Set("all", "true")
	}
	if q.From != "" {
		query.Set("from", q.From)
	}
	if q.Limit != 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	if q.Cursor != "" {
		query.Set("cursor", q.Cursor)
	}
	return get[InboxPage](ctx, c, agent, call{path: []string{"inbox"}, query: query})
}

// Lease implements Backend.
func (c *Client) Lease(ctx context.Context, agent string, r LeaseRequest) ([]InboxMessage, error) {
	l, err := post[listOf[InboxMessage]](ctx, c, agent, call{
		path: []string{"inbox", "lease"}, in: r, wait: time.Duration(r.WaitSeconds) * time.Second})
	return l.Items, err
}

// readRequest is the body of a read. Leases count in whole seconds.
type readRequest struct {
	LeaseSeconds int64 `json:"lease_s,omitempty"`
}

// Read implements Backend. A part of a second counts as a whole one, because a
// lease of nothing would be no lease.
func (c *Client) Read(ctx context.Context, agent, id string, lease time.Duration) (InboxMessage, error) {
	in := readRequest{LeaseSeconds: int64((max(lease, 0) + time.Second - 1) / time.Second)}
	return post[InboxMessage](ctx, c, agent, call{path: []string{"inbox", id, "read"}, in: in})
}

// Ack implements Backend.
func (c *Client) Ack(ctx context.Context, agent, id string, r AckRequest) (InboxItem, error) {
	return post[InboxItem](ctx, c, agent, call{path: []string{"inbox", id, "ack"}, in: r})
}

// Nack implements Backend.
func (c *Client) Nack(ctx context.Context, agent, id string) (InboxItem, error) {
	return post[InboxItem](ctx, c, agent, call{path: []string{"inbox", id, "nack"}, in: nothing{}})
}

// Contacts implements Backend.
func (c *Client) Contacts(ctx context.Context, agent string) ([]Contact, error) {
	l, err := get[listOf[Contact]](ctx, c, agent, call{path: []string{"contacts"}})
	return l.Items, err
}

// Compare implements Backend.
func (c *Client) Compare(ctx context.Context, agent, peer string) (Comparison, error) {
	return get[Comparison](ctx, c, agent, call{path: []string{"contacts", peer, "comparison"}})
}

// Verify implements Backend.
func (c *Client) Verify(ctx context.Context, agent, peer string, r VerifyRequest) (Contact, error) {
	return post[Contact](ctx, c, agent, call{path: []string{"contacts", peer, "verify"}, in: r})
}

// Keys implements Backend.
func (c *Client) Keys(ctx context.Context, agent string) (Keys, error) {
	return get[Keys](ctx, c, agent, call{path: []string{"keys"}})
}

// RotateKeys implements Backend.
func (c *Client) RotateKeys(ctx context.Context, agent string) (Keys, error) {
	return post[Keys](ctx, c, agent, call{path: []string{"keys", "rotate"}, in: nothing{}})
}

// Revoke implements Backend.
func (c *Client) Revoke(ctx context.Context, agent string, r RevokeRequest) (Revocation, error) {
	return post[Revocation](ctx, c, agent, call{path: []string{"keys", "revoke"}, in: r})
}

// Knocks implements Backend.
func (c *Client) Knocks(ctx context.Context, agent string) ([]Knock, error) {
	l, err := get[listOf[Knock]](ctx, c, agent, call{path: []string{"knocks"}})
	return l.Items, err
}

// Decide implements Backend.
func (c *Client) Decide(ctx context.Context, agent, id string, approve bool, r DecideRequest) (Knock, error) {
	if approve {
		return post[Knock](ctx, c, agent, call{path: []string{"knocks", id, "approve"}, in: r})
	}
	return post[Knock](ctx, c, agent, call{path: []string{"knocks", id, "refuse"}, in: nothing{}})
}

// Backup implements Backend.
func (c *Client) Backup(ctx context.Context, r BackupRequest) (Backup, error) {
	return post[Backup](ctx, c, "", call{path: []string{"backup"}, in: r, wait: backupIn})
}

// Sessions implements Backend.
func (c *Client) Sessions(ctx context.Context, agent, peer string) ([]Session, error) {
	k := call{path: []string{"sessions"}}
	if peer != "" {
		k.query = url.Values{"peer": {peer}}
	}
	l, err := get[listOf[Session]](ctx, c, agent, k)
	return l.Items, err
}

// Kill implements Backend.
func (c *Client) Kill(ctx context.Context, agent, peer string) ([]Session, error) {
	l, err := post[listOf[Session]](ctx, c, agent, call{path: []string{"peers", peer, "kill"}, in: nothing{}})
	return l.Items, err
}

// Block implements Backend.
func (c *Client) Block(ctx context.Context, agent, peer string, blocked bool) (Policy, error) {
	verb := "unblock"
	if blocked {
		verb = "block"
	}
	return post[Policy](ctx, c, agent, call{path: []string{"peers", peer, verb}, in: nothing{}})
}

// Policy implements Backend.
func (c *Client) Policy(ctx context.Context, agent string) (Policy, error) {
	return get[Policy](ctx, c, agent, call{path: []string{"policy"}})
}

// SetPolicy implements Backend.
func (c *Client) SetPolicy(ctx context.Context, agent string, change PolicyChange) (Policy, error) {
	var out Policy
	err := c.do(ctx, agent, call{method: http.MethodPatch, path: []string{"policy"}, in: change}, &out)
	return out, err
}

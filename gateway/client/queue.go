package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Selection selects deliveries in the queue, or dead letters. What changes something
// takes the zero value for nothing, unless All is set; what lists takes it for all.
type Selection struct {
	All       bool   `json:"all,omitempty"`
	MessageID string `json:"message_id,omitempty"`
	Recipient string `json:"recipient,omitempty"`
	// Target is a domain, or the address of a push agent.
	Target string    `json:"target,omitempty"`
	Before time.Time `json:"before,omitzero"`
	Limit  int       `json:"limit,omitempty"`
	Offset int       `json:"-"`
}

func (s Selection) query() url.Values {
	v := values("message_id", s.MessageID, "recipient", s.Recipient, "target", s.Target)
	if !s.Before.IsZero() {
		v.Set("before", s.Before.UTC().Format(time.RFC3339Nano))
	}
	if s.Limit > 0 {
		v.Set("limit", strconv.Itoa(s.Limit))
	}
	if s.Offset > 0 {
		v.Set("offset", strconv.Itoa(s.Offset))
	}
	return v
}

// Delivery is a message to one recipient that waits, or was given up.
type Delivery struct {
	MessageID string    `json:"message_id"`
	Sender    string    `json:"sender"`
	Recipient string    `json:"recipient"`
	Mode      string    `json:"delivery_mode"`
	Target    string    `json:"target"`
	Status    string    `json:"status"`
	Attempts  int       `json:"attempts"`
	Accepted  time.Time `json:"accepted_at"`
	Next      time.Time `json:"next_retry,omitzero"`
	Dead      time.Time `json:"dead_since,omitzero"`
	Code      string    `json:"error_code,omitempty"`
	Message   string    `json:"error_message,omitempty"`
}

// Deliveries is a page of them.
type Deliveries struct {
	Items []Delivery `json:"deliveries"`
	Total int        `json:"total"`
}

// DeadLetter is one that was given up, with the tries that were made.
type DeadLetter struct {
	Delivery
	History []Attempt `json:"attempt_history"`
}

// QueueStats is what is in the queue.
type QueueStats struct {
	Queued   int           `json:"queued"`
	Retrying int           `json:"retrying"`
	Leased   int           `json:"leased"`
	Dead     int           `json:"dead"`
	Oldest   time.Time     `json:"oldest,omitzero"`
	Targets  []TargetStats `json:"targets"`
}

// TargetStats is what waits for one domain or push agent.
type TargetStats struct {
	Target string    `json:"target"`
	Jobs   int       `json:"jobs"`
	Next   time.Time `json:"next,omitzero"`
}

// Queue lists what waits, first what is due first.
func (c *Client) Queue(ctx context.Context, s Selection) (Deliveries, error) {
	return get[Deliveries](ctx, c, s.query(), "admin", "queue")
}

// QueueStats counts what waits.
func (c *Client) QueueStats(ctx context.Context) (QueueStats, error) {
	return get[QueueStats](ctx, c, nil, "admin", "queue", "stats")
}

// Flush has what waits tried now, and returns how many.
func (c *Client) Flush(ctx context.Context, s Selection) (int, error) {
	return c.change(ctx, s, "queue", "flush")
}

// DeadLetters lists what was given up, the newest first.
func (c *Client) DeadLetters(ctx context.Context, s Selection) (Deliveries, error) {
	return get[Deliveries](ctx, c, s.query(), "admin", "deadletters")
}

// DeadLetter is one that was given up.
func (c *Client) DeadLetter(ctx context.Context, id, recipient string) (DeadLetter, error) {
	return get[DeadLetter](ctx, c, nil, "admin", "deadletters", id, recipient)
}

// Redrive puts dead letters back into the queue, and returns how many.
func (c *Client) Redrive(ctx context.Context, s Selection) (int, error) {
	return c.change(ctx, s, "deadletters", "redrive")
}

// Purge forgets dead letters, and returns how many.
func (c *Client) Purge(ctx context.Context, s Selection) (int, error) {
	return c.change(ctx, s, "deadletters", "purge")
}

// change asks until nothing is left of the selection, because a gateway changes only so
// many at once. With an error it returns how many had been changed until then.
func (c *Client) change(ctx context.Context, s Selection, path ...string) (int, error) {
	body := struct {
		Selection
		After string `json:"after,omitempty"`
	}{Selection: s}
	for done := 0; ; {
		got, err := ask[struct {
			Count int    `json:"count"`
			Next  string `json:"next"`
		}](ctx, c, call{method: http.MethodPost, path: append([]string{"v1", "admin"}, path...), body: body})
		done += got.Count
		if err != nil || got.Count <= 0 || got.Next == "" || s.Limit > 0 && done >= s.Limit {
			return done, err
		}
		if body.After = got.Next; s.Limit > 0 {
			body.Limit = s.Limit - done
		}
	}
}

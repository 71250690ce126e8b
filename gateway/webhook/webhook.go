package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/answer"
	"amesh/gateway/store"
	"amesh/internal/outward"
)

// DefaultUserAgent is what agentry's pushes say, and what its agents may look for.
const DefaultUserAgent = "AMTP-Gateway/1.0"

// Client makes requests: internal/outward's.
type Client interface {
	Do(*http.Request) (*http.Response, error)
}

// Config is what a Pusher needs.
type Config struct {
	Client    Client
	UserAgent string        // DefaultUserAgent if empty
	Timeout   time.Duration // of one push with its answer; 10 s if zero
	Log       *slog.Logger
}

// Pusher pushes messages to agents. It is safe for concurrent use and keeps nothing.
type Pusher struct{ cfg Config }

// New checks the configuration. It opens and starts nothing.
func New(cfg Config) (*Pusher, error) {
	if cfg.Client == nil {
		return nil, errors.New("webhook: a client is required")
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = DefaultUserAgent
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Pusher{cfg}, nil
}

// Result is what came of a push.
type Result struct {
	// State is amtp.Delivered; amtp.Failed for good; or amtp.Retrying, another try may
	// help.
	State      amtp.State
	Code       amtp.Code // with Failed and Retrying
	Text       string    // the same in words: short, clean, without anything of our side
	HTTPStatus int       // zero: there was no answer
	RetryAfter time.Duration
	Took       time.Duration
	// Untried says that no try was made, or that we broke it off ourselves.
	Untried bool
	// Reply is the payload with which the agent answers the sender at once; nil if it
	// does not.
	Reply json.RawMessage
}

// Push hands a message, as of (*amtp.Message).Document, to an agent, once.
func (p *Pusher) Push(ctx context.Context, agent store.Agent, document []byte) Result {
	start := time.Now()
	r := p.push(ctx, agent, document)
	r.Took = time.Since(start)
	r.Text = answer.Clean(r.Text)
	return r
}

func (p *Pusher) push(ctx context.Context, agent store.Agent, document []byte) Result {
	if agent.PushTarget == "" {
		return Result{State: amtp.Failed, Code: amtp.CodeMissingPushTarget, Text: "the agent has no push_target"}
	}
	if ctx.Err() != nil {
		return interrupted()
	}
	limited, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	req, err := p.request(limited, agent, document)
	if err != nil {
		p.cfg.Log.Warn("a push cannot be made", "agent", agent.Address, "err", withoutURL(err))
		return Result{State: amtp.Failed, Code: amtp.CodePushRequestFailed, Text: "the agent's push_target or headers cannot be used"}
	}
	resp, err := p.cfg.Client.Do(req)
	switch {
	case err == nil:
		return judge(resp, time.Now())
	case ctx.Err() != nil:
		return interrupted()
	case errors.Is(err, outward.ErrBlocked):
		p.cfg.Log.Warn("a push_target is not contacted", "agent", agent.Address, "err", withoutURL(err))
		return Result{State: amtp.Failed, Code: amtp.CodeSSRFBlocked, Text: "the agent's push_target is at an address that is not contacted, unless push.internal or outward.allow lets it"}
	}
	p.cfg.Log.Debug("no answer to a push", "agent", agent.Address, "err", withoutURL(err))
	return Result{State: amtp.Retrying, Code: amtp.CodePushRequestFailed, Text: "no answer from the agent: " + answer.Reason(err)}
}

// withoutURL is an error for the log: a push_target may have a secret in it.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func interrupted() Result {
	return Result{State: amtp.Retrying, Code: amtp.CodeContextCanceled, Text: "interrupted before the agent answered", Untried: true}
}

// judge says what an answer means.
func judge(resp *http.Response, now time.Time) Result {
	body, whole := answer.Body(resp)
	r := Result{HTTPStatus: resp.StatusCode}
	if resp.StatusCode/100 == 2 {
		r.State = amtp.Delivered
		if whole {
			r.Reply = reply(body)
		}
		return r
	}
	r.Code, r.Text = amtp.CodePushDeliveryFailed, fmt.Sprintf("push delivery failed with status %d", resp.StatusCode)
	switch s := resp.StatusCode; {
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests, s >= 500:
		r.State, r.RetryAfter = amtp.Retrying, answer.RetryAfter(resp.Header, now)
	default:
		r.State = amtp.Failed
	}
	return r
}

// reply is the immediate reply in an answer, {"status":"accepted","response":…}
// (AMTP §12.2), or nil.
func reply(body []byte) json.RawMessage {
	var a struct {
		Status   string          `json:"status"`
		Response json.RawMessage `json:"response"`
	}
	if json.Unmarshal(body, &a) != nil || a.Status != "accepted" || bytes.Equal(a.Response, []byte("null")) {
		return nil
	}
	return a.Response
}

package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"amesh/identity"
	"amesh/registry/wire"
)

// signed makes a write that key answers for. body makes the JSON around
// the stamp, which is empty where the header signs the request.
func (c *Client) signed(ctx context.Context, key identity.PrivateKey, r request, body func(wire.Stamp) any) (answer, error) {
	kind, err := c.Learn(ctx)
	if err != nil {
		return answer{}, err
	}
	var stamp wire.Stamp
	if kind == KindLegacy {
		if !c.legacy {
			return answer{}, ErrLegacy
		}
		stamp.Timestamp, stamp.Signature = wire.SignTimestamp(key, c.freshStamp(key.AMID()))
	}
	if r.body, err = json.Marshal(body(stamp)); err != nil {
		return answer{}, fmt.Errorf("registry request: %w", err)
	}
	if kind == KindLegacy {
		return c.do(ctx, r)
	}
	return c.sealed(ctx, key, r)
}

// sealed makes a call with a signature over all of it. It is refused by a registry of
// plain 0.2 before anything is signed.
func (c *Client) sealed(ctx context.Context, key identity.PrivateKey, r request) (answer, error) {
	kind, err := c.Learn(ctx)
	if err != nil {
		return answer{}, err
	}
	if kind == KindLegacy {
		return answer{}, ErrUnsupported
	}
	req, err := c.newRequest(ctx, r)
	if err != nil {
		return answer{}, err
	}
	if err := wire.SignRequest(req, r.body, key, c.clock()); err != nil {
		return answer{}, fmt.Errorf("registry request: %w", err)
	}
	r.header = http.Header{wire.SignatureHeader: req.Header[wire.SignatureHeader]}
	a, err := c.do(ctx, r)
	if noRoute(err) {
		return a, fmt.Errorf("%w: %w", ErrDowngrade, err)
	}
	return a, err
}

// freshStamp is a second that was not signed with this key before: a registry takes a
// signature once.
func (c *Client) freshStamp(amid identity.AMID) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock().Truncate(time.Second)
	if last := c.stamps[amid]; !now.After(last) {
		now = last.Add(time.Second)
	}
	c.stamps[amid] = now
	return now
}

// noRoute reports an answer that no amesh registry gives: ours name a code.
func noRoute(err error) bool {
	no, ok := errors.AsType[*StatusError](err)
	return ok && no.Code == "" && (no.Status == http.StatusUnauthorized || no.Status == http.StatusNotFound)
}

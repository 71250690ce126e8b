package api

import (
	"context"
	"time"
)

// Why implements Diagnosis.
func (c *Client) Why(ctx context.Context, agent, peer string) (Why, error) {
	return get[Why](ctx, c, agent, call{path: []string{"peers", peer, "why"}})
}

// TryDirect implements Diagnosis.
func (c *Client) TryDirect(ctx context.Context, agent, peer string) (Why, error) {
	return post[Why](ctx, c, agent, call{path: []string{"peers", peer, "try"}, in: nothing{}})
}

// Ping implements Diagnosis.
func (c *Client) Ping(ctx context.Context, agent, peer string, r PingRequest) (Ping, error) {
	return post[Ping](ctx, c, agent, call{path: []string{"peers", peer, "ping"}, in: r, wait: time.Duration(r.TimeoutMS) * time.Millisecond})
}

// Netcheck implements Diagnosis.
func (c *Client) Netcheck(ctx context.Context, r NetcheckRequest) (Netcheck, error) {
	return post[Netcheck](ctx, c, "", call{path: []string{"netcheck"}, in: r, wait: lookIn})
}

// Bugreport implements Diagnosis.
func (c *Client) Bugreport(ctx context.Context, r BugreportRequest) (Bugreport, error) {
	return post[Bugreport](ctx, c, "", call{path: []string{"bugreport"}, in: r, wait: lookIn})
}

// Doctor implements Diagnosis.
func (c *Client) Doctor(ctx context.Context) (Doctor, error) {
	return post[Doctor](ctx, c, "", call{path: []string{"doctor"}, in: nothing{}, wait: lookIn})
}

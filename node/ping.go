package node

import (
	"context"
	"errors"
	"net/http"
	"time"

	"amesh/identity"
	"amesh/node/agent"
	"amesh/node/api"
)

// Ping implements api.Diagnosis.
func (m *mesh) Ping(ctx context.Context, name, who string, req api.PingRequest) (api.Ping, error) {
	r, amid, err := m.about(name, who)
	if err != nil {
		return api.Ping{}, err
	}
	wait := time.Duration(req.TimeoutMS) * time.Millisecond
	if wait == 0 {
		wait = api.PingDefault
	}
	if wait < 0 || wait > api.PingMost || req.Via != "" && req.Via != "direct" && req.Via != "relayed" {
		return api.Ping{}, api.Problemf(http.StatusUnprocessableEntity, api.CodeInvalid, "a ping waits at most %s, and goes direct or relayed", api.PingMost).
			WithHint("ask for less")
	}
	own, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if req.Via != "relayed" {
		r.paths.try(amid) // whoever pings wants to know what is possible now
	}
	rtt, path, err := r.agent.Echo(own, amid, api.PathKind(req.Via))
	if err != nil {
		return api.Ping{}, m.pingProblem(ctx, r, amid, wait, err)
	}
	p := api.Ping{Peer: amid, Agent: r.agent.Name, RTTMS: milliseconds(rtt), Path: path}
	w, err := m.why(r, amid)
	if err != nil {
		return p, err
	}
	switch {
	case path == api.PathRelayed:
		p.Via = r.relays.nearest(r.paths.relaysOf(amid))
	case w.Remote != "":
		p.Path, p.Via = w.Path, w.Remote // the connection may have been punched
	}
	return p, nil
}

// pingProblem says why no echo came back, and what to do.
func (m *mesh) pingProblem(ctx context.Context, r *room, amid identity.AMID, wait time.Duration, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, agent.ErrNoSession):
		return m.noSession(r, amid)
	case errors.Is(err, agent.ErrTooOften):
		return api.Problemf(http.StatusTooManyRequests, api.CodeBusy, "too many pings within a minute, or the peer confirms nothing").
			WithHint("wait a minute")
	case errors.Is(err, agent.ErrNoPath):
		return api.Problemf(http.StatusGatewayTimeout, api.CodeNoAnswer, "there is no path to %s now", amid).
			WithHint("amesh why %s", amid)
	case errors.Is(err, agent.ErrNoReply), errors.Is(err, context.DeadlineExceeded):
		return api.Problemf(http.StatusGatewayTimeout, api.CodeNoAnswer, "%s did not answer within %s", amid, wait).
			WithHint("its node may be off; amesh why %s shows the path", amid)
	}
	return err
}

// noSession says what a peer without a session is to us.
func (m *mesh) noSession(r *room, amid identity.AMID) error {
	p, _, err := r.known(amid)
	switch {
	case err != nil:
		return err
	case p.Blocked:
		return api.Problemf(http.StatusForbidden, api.CodePolicy, "our policy blocks %s", amid).WithHint("amesh unblock %s", amid)
	case p.Session == "rejected":
		return api.Problemf(http.StatusForbidden, api.CodePolicy, "%s did not let our agent in", amid).WithHint("ask its owner for an invite")
	}
	next, err := r.towards(p)
	if err != nil {
		return err
	}
	return api.Problemf(http.StatusConflict, api.CodeNoSession, "there is no session with %s: a ping travels inside one", amid).WithHint("%s", next)
}

// relaysOf are the relays that a peer told, none when it told none.
func (p *paths) relaysOf(amid identity.AMID) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.roads.find(amid); r != nil {
		return r.relays()
	}
	return nil
}

package node

import (
	"time"

	"amesh/identity"
	"amesh/node/api"
	"amesh/node/path"
)

// way is what the paths know of the way to a peer. A path by relay is the relays' to say.
func (p *paths) way(amid identity.AMID, f path.Facts) wayTo {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := wayTo{Why: api.Why{Path: api.PathNone}}
	r := p.roads.find(amid)
	if w.unknown = r == nil; w.unknown {
		return w
	}
	now := time.Now()
	p.sync(r, now)
	f.Off = p.begin == nil
	if id := p.openID(r); id != "" && r.machine.Carries() {
		w.PeerID, w.Path, w.Since = id, p.kind(id), new(r.machine.Since())
		if c, ok := p.direct.Conn(id); ok {
			w.Remote, w.Limited, w.RTTMS = c.Remote, c.Limited, milliseconds(c.RTT)
		}
	}
	why := r.machine.Why(f, now)
	w.Reason, w.Text, w.Next = api.WhyReason(why.Code), why.Text, why.Next
	if why.NextTry.After(now) {
		w.NextTry = new(why.NextTry)
	}
	w.addressed, w.relays = r.dialable(), r.relays()
	for _, a := range r.machine.Attempts() {
		w.Attempts = append(w.Attempts, shownAttempt(a, now))
	}
	return w
}

// shownAttempt is an attempt for the owner.
func shownAttempt(a path.Attempt, now time.Time) api.Attempt {
	kinds := map[path.State]api.AttemptKind{
		path.Dialling: api.AttemptDial, path.Punching: api.AttemptICE, path.Circling: api.AttemptCircuit,
	}
	outcomes := map[path.Outcome]api.Outcome{
		path.Running: api.OutcomeRunning, path.Won: api.OutcomeOK, path.Lost: api.OutcomeFailed, path.GivenUp: api.OutcomeGivenUp,
	}
	v := api.Attempt{
		Kind: kinds[a.Rung], Started: a.Started, TookMS: milliseconds(a.Took), Outcome: outcomes[a.Outcome],
		Error: a.Detail, Target: a.Target,
	}
	if a.Outcome == path.Running {
		v.TookMS = milliseconds(now.Sub(a.Started))
	}
	switch a.Code {
	case path.PeerOff, path.PeerUDP, path.PeerBusy:
		v.Outcome = api.OutcomeDeclined
	}
	if v.Outcome == api.OutcomeOK {
		v.Error = "" // an earlier address failed, or what was won broke later
	}
	for _, p := range a.Pairs {
		v.Pairs = append(v.Pairs, api.Pair{
			Local: p.Local, LocalType: p.LocalType, Remote: p.Remote, RemoteType: p.RemoteType,
			State: p.State, Requests: p.Requests, Responses: p.Responses, RTTMS: milliseconds(p.RTT),
		})
	}
	return v
}

package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/reach"
	"amesh/node/agent"
	"amesh/node/direct"
	"amesh/node/path"
)

// Numbers of punching; those of ICE itself are in internal/ice.
const (
	// answerTimeout is how long an offer waits for its answer: the peer gathers
	// candidates before it answers, and both go by relay.
	answerTimeout = 10 * time.Second
	// inboundTimeout is how long who answered waits for the other one to dial through
	// the hole before it dials itself.
	inboundTimeout = 2 * time.Second
)

// punch is one attempt of ICE.
type punch interface {
	// local is our side, without a peer id.
	local() content.ICEDescription
	// open punches and returns the multiaddr to which the hole leads.
	open(ctx context.Context, remote content.ICEDescription, controlling bool) (string, error)
	// pairs are the pairs of candidates that were tried until now.
	pairs() []path.Pair
	close()
}

// offering is an offer of ours that is under way.
type offering struct {
	id       content.Attempt
	answers  chan *content.ICEAnswer // has room for one
	answered bool
}

var (
	errGivenUp    = errors.New("nobody waits for it any more")
	errPeerSilent = errors.New("no answer to the offer")
	errNoEcho     = errors.New("no echo through the hole")
	// errSTUN is what begin returns when STUN servers were asked and none answered: what
	// cannot get out to them gets to no peer either.
	errSTUN = errors.New("no STUN server answered")
)

// Signalled implements agent.Carrier.
func (p *paths) Signalled(peer identity.AMID, s content.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.roads.of(peer)
	r.inside = true
	switch s := s.(type) {
	case *content.ICEAnswer:
		// One that says glare is none: the peer's own offer is on its way.
		if o := r.ours; o != nil && o.id == s.Attempt && !o.answered && s.Code != content.PunchGlare {
			o.answered = true
			o.answers <- s
		}
	case *content.ICEOffer:
		p.offered(r, s)
	}
}

// offered takes a peer's offer, or says no; p.mu is held. When both have offered and
// neither has an answer, one of them gives way (session.md §7.6).
func (p *paths) offered(r *road, o *content.ICEOffer) {
	switch {
	case p.ctx == nil:
	case p.begin == nil:
		p.decline(r, o, content.PunchOff)
	case r.ours != nil && !r.ours.answered && !agent.GivesWay(p.own, r.peer):
		p.decline(r, o, content.PunchGlare)
	default:
		switch a := p.tell(r, path.Event{Kind: path.Offered}); {
		case a&path.Answer != 0:
			r.theirs = o // answer waits for p.mu
		case r.machine.Connected():
			p.decline(r, o, content.PunchOpen)
		default:
			p.decline(r, o, content.PunchBusy)
		}
	}
}

// decline says no to an offer; p.mu is held.
func (p *paths) decline(r *road, o *content.ICEOffer, why content.AnswerCode) {
	ctx := p.ctx
	p.wg.Go(func() { p.say(ctx, r, &content.ICEAnswer{Attempt: o.Attempt, Code: why}) })
}

// say seals a signal for a peer.
func (p *paths) say(ctx context.Context, r *road, s content.Signal) error {
	err := p.signal(ctx, r.peer, s)
	if err != nil {
		p.log.Debug("signal not sent", "peer", r.peer.Short(), "err", err)
	}
	return err
}

// attempt works on one punch until it is over, or nobody waits for it; p.mu is held. run
// names it for the machine.
func (p *paths) attempt(r *road, run uint64, work func(context.Context, *road, uint64) (path.Result, error)) {
	ctx, stop := context.WithCancel(p.ctx)
	r.stop = stop
	p.wg.Go(func() {
		defer stop()
		res, err := work(ctx, r, run)
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, errGivenUp): // that says nothing about the peer
			res.Code = ""
		case res.Code == "":
			res.Code, res.Detail = path.PunchFailed, detail(err)
		default:
			res.Detail = detail(err)
		}
		p.ended(r, run, err, res)
	})
}

// offer punches as the one who asked.
func (p *paths) offer(ctx context.Context, r *road, run uint64) (path.Result, error) {
	a, err := p.begin(ctx)
	if err != nil {
		return path.Result{Code: unableCode(err)}, err
	}
	defer a.close()
	o := &offering{answers: make(chan *content.ICEAnswer, 1)}
	_, _ = rand.Read(o.id[:]) // never fails
	p.mu.Lock()
	if r.machine.Run() != run {
		p.mu.Unlock()
		return path.Result{}, errGivenUp
	}
	r.ours = o
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if r.ours == o {
			r.ours = nil
		}
	}()
	if err := p.say(ctx, r, &content.ICEOffer{Attempt: o.id, ICEDescription: p.describe(a)}); err != nil {
		return path.Result{Code: path.Paused}, err
	}
	late := time.NewTimer(answerTimeout)
	defer late.Stop()
	select {
	case yes := <-o.answers:
		if yes.Code != content.Agreed {
			return path.Result{Code: refusalCode(yes.Code)}, fmt.Errorf("the peer said no: %s", yes.Code)
		}
		return p.through(ctx, r, run, a, yes.ICEDescription, true)
	case <-late.C:
		return path.Result{Code: path.PeerSilent}, errPeerSilent
	case <-ctx.Done():
		return path.Result{}, ctx.Err()
	}
}

// answer punches as the one who was asked.
func (p *paths) answer(ctx context.Context, r *road, run uint64) (path.Result, error) {
	p.mu.Lock()
	o := r.theirs
	p.mu.Unlock()
	a, err := p.begin(ctx)
	if err != nil {
		_ = p.say(ctx, r, &content.ICEAnswer{Attempt: o.Attempt, Code: content.PunchUnable})
		return path.Result{Code: unableCode(err)}, err
	}
	defer a.close()
	if err := p.say(ctx, r, &content.ICEAnswer{Attempt: o.Attempt, ICEDescription: p.describe(a)}); err != nil {
		return path.Result{Code: path.Paused}, err
	}
	return p.through(ctx, r, run, a, o.ICEDescription, false)
}

// describe is our side of an attempt, for the peer.
func (p *paths) describe(a punch) content.ICEDescription {
	d := a.local()
	for _, id := range p.places().PeerIDs {
		d.PeerID = id
	}
	return d
}

// through punches, and proves the hole by a connection with an echo. Who asked dials. Who
// was asked waits for that, since both dialling would make two connections, and dials
// when nothing comes: its packets may get through where the other's do not.
func (p *paths) through(ctx context.Context, r *road, run uint64, a punch, theirs content.ICEDescription, controlling bool) (path.Result, error) {
	remote, err := a.open(ctx, theirs, controlling)
	res := path.Result{Pairs: a.pairs()}
	if err != nil {
		res.Code = punchCode(a.local().Candidates, theirs.Candidates)
		return res, err
	}
	res.Target = remote
	p.mu.Lock()
	// Where the peer tells the address itself, a dial finds it without a hole.
	if !r.tells(remote) {
		p.direct.Punched(theirs.PeerID, remote)
	}
	r.metAt = theirs.PeerID
	p.sync(r, time.Now())
	over := r.machine.Connected() || r.machine.Run() != run
	dialing := p.ctx
	p.mu.Unlock()
	if over || dialing == nil {
		return res, nil
	}
	if !controlling {
		wait := time.NewTimer(inboundTimeout)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		if p.direct.Open(theirs.PeerID) {
			return res, nil
		}
	}
	// Not ctx: it ends as soon as the connection is there, and its echo would be lost.
	dialing, cancel := context.WithTimeout(dialing, dialTimeout)
	defer cancel()
	if _, err := p.direct.Dial(dialing, direct.Target{PeerIDs: []string{theirs.PeerID}, Addresses: []string{remote}}); err != nil {
		res.Code = path.Unproved
		return res, fmt.Errorf("%w: %w", errNoEcho, err)
	}
	return res, nil
}

// circle makes a circuit through a relay and has libp2p punch from there.
func (p *paths) circle(ctx context.Context, r *road, run uint64) (path.Result, error) {
	p.mu.Lock()
	ids, dialing := slices.Collect(r.peerIDs()), p.ctx
	p.mu.Unlock()
	res := path.Result{Code: path.CircuitError}
	if dialing == nil {
		return res, errGivenUp
	}
	err := errNoEcho
	for _, id := range ids {
		var remote string
		if remote, err = p.meet(ctx, id); err != nil {
			continue
		}
		p.direct.Punched(id, remote)
		res.Target = remote
		// Not ctx: it ends as soon as the path is there, and its echo would be lost.
		echo, cancel := context.WithTimeout(dialing, dialTimeout)
		_, err = p.direct.Dial(echo, direct.Target{PeerIDs: []string{id}})
		cancel()
		if err == nil {
			res.Code = ""
			break
		}
	}
	return res, err
}

func unableCode(err error) path.Code {
	if errors.Is(err, errSTUN) {
		return path.UDPBlocked
	}
	return path.NoSTUN
}

func refusalCode(c content.AnswerCode) path.Code {
	switch c {
	case content.PunchOff:
		return path.PeerOff
	case content.PunchUnable:
		return path.PeerUDP
	}
	return path.PeerBusy
}

// punchCode guesses why no pair of candidates answered, from what each side knew of
// itself: an address that the other one could not reach, or none as seen from outside.
func punchCode(ours, theirs []string) path.Code {
	switch {
	case !slices.ContainsFunc(ours, outside):
		return path.NoSTUN
	case !slices.ContainsFunc(theirs, outside):
		return path.PeerUDP
	}
	return path.NATs
}

// outside reports whether a candidate is an address that others may reach, as far as it
// says: one that a STUN server saw, or a public one of the machine itself.
func outside(candidate string) bool {
	// foundation component protocol priority address port "typ" type …
	words := strings.Fields(candidate)
	if len(words) < 8 {
		return false
	}
	ip, err := netip.ParseAddr(words[4])
	return words[7] == "srflx" || err == nil && reach.Public(ip)
}

package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/peer"
	"amesh/gateway/store"
)

// tried is what came of one try, for one recipient.
type tried struct {
	state      amtp.State
	code       amtp.Code
	text       string
	httpStatus int
	retryAfter time.Duration
	took       time.Duration
	untried    bool
	inbox      bool
	reply      json.RawMessage
}

// deliver tries one job and writes down what came of it.
func (s *Service) deliver(work context.Context, j leased) {
	ctx, cancel := context.WithTimeout(work, s.cfg.Limits.Attempt)
	results := s.try(ctx, j.Job)
	cancel()
	now := time.Now()
	h, wait := judge(results)
	s.mu.Lock()
	back := s.targets.end(j.Target, h, wait, now)
	until := s.targets.get(j.Target, now).until
	s.mu.Unlock()
	select {
	case s.freed <- struct{}{}:
	default: // it will look anyway
	}
	if back {
		s.Expedite(work, j.Target, now)
	}
	outcomes := make([]store.Outcome, len(j.Recipients))
	for i, r := range j.Recipients {
		outcomes[i] = s.outcome(j.Job, r, results[i], until, now)
	}
	s.tell(j.Job, outcomes, results, now)
	s.settle(work, j.until, outcomes)
}

// try makes one try of a job. The results are in the order of its recipients.
func (s *Service) try(ctx context.Context, j store.Job) []tried {
	results := make([]tried, len(j.Recipients))
	switch j.Mode {
	case store.Remote:
		s.send(ctx, j, results)
	case store.Push:
		for i, r := range j.Recipients {
			results[i] = s.push(ctx, j, r)
		}
	default:
		for i := range results {
			results[i] = tried{state: amtp.Failed, code: amtp.CodeInvalidDeliveryMode, text: "the recipient has no way of delivery"}
		}
	}
	return results
}

func (s *Service) send(ctx context.Context, j store.Job, results []tried) {
	m := peer.Outgoing{MessageID: j.MessageID, Document: j.Document}
	for _, r := range j.Recipients {
		m.Recipients = append(m.Recipients, r.Address)
	}
	first, err := s.first(ctx, j)
	if err != nil {
		s.cfg.Log.Error("a message's recipients cannot be read", "id", j.MessageID, "err", err)
		for i := range results {
			results[i] = tried{untried: true}
		}
		return
	}
	m.First = first
	for i, r := range s.cfg.Peers.Send(ctx, j.Target, m) {
		results[i] = tried{
			state: r.State, code: r.Code, text: r.Text, httpStatus: r.HTTPStatus,
			retryAfter: r.RetryAfter, took: r.Took, untried: r.Untried,
		}
	}
}

// first is the domain's first recipient in the message as a whole, of which a job has
// only those that are left.
func (s *Service) first(ctx context.Context, j store.Job) (string, error) {
	if !s.cfg.Peers.Signs() {
		return "", nil
	}
	status, err := s.cfg.Store.Status(ctx, j.MessageID)
	if err != nil {
		return "", err
	}
	for _, r := range status.Recipients {
		if _, domain, ok := strings.Cut(r.Address, "@"); ok && domain == j.Target {
			return r.Address, nil
		}
	}
	return "", nil
}

func (s *Service) push(ctx context.Context, j store.Job, r store.JobRecipient) tried {
	gone := tried{state: amtp.Failed, code: amtp.CodeAgentUnknown, text: "there is no such agent any more"}
	address, err := amtp.ParseAddress(r.Address)
	if err != nil {
		return gone
	}
	agent, ok := s.agent(ctx, j, address)
	if !ok {
		return gone
	}
	if agent.Mode != store.Push { // it fetches by now
		return tried{state: amtp.Delivered, inbox: true}
	}
	v := s.cfg.Hooks.Push(ctx, agent, j.Document)
	if _, ok := s.agent(ctx, j, address); !ok && v.State == amtp.Retrying { // removed meanwhile
		return gone
	}
	return tried{
		state: v.State, code: v.Code, text: v.Text, httpStatus: v.HTTPStatus,
		retryAfter: v.RetryAfter, took: v.Took, untried: v.Untried, reply: v.Reply,
	}
}

// agent is whom a job is for, if it still is: a later agent of that name is somebody else.
func (s *Service) agent(ctx context.Context, j store.Job, address amtp.Address) (store.Agent, bool) {
	a, ok := s.cfg.Agents.Search(ctx, address)
	return a, ok && !a.Created.Add(-namesake).After(j.Queued)
}

// judge says what results tell of the target's health: the worst of them, and how long
// it asked us to wait.
func judge(results []tried) (h health, wait time.Duration) {
	for _, r := range results {
		var one health
		switch {
		case r.untried:
		case r.httpStatus == http.StatusTooManyRequests:
			one = throttled
		case r.httpStatus >= 500:
			one = troubled
		case r.httpStatus > 0:
			one = answered
		case r.state == amtp.Retrying:
			one = silent
		}
		h, wait = max(h, one), max(wait, r.retryAfter)
	}
	return h, wait
}

// outcome is what is written down of a try. Nobody is tried again before the target is
// not left alone any more.
func (s *Service) outcome(j store.Job, r store.JobRecipient, t tried, until, now time.Time) store.Outcome {
	if t.untried {
		return putBackOne(j, r, later(until, now.Add(s.cfg.Limits.MinRetry)), now)
	}
	o := store.Outcome{
		MessageID: j.MessageID, Address: r.Address, At: now, State: t.state, Code: t.code, Text: t.text,
		HTTPStatus: t.httpStatus, Took: t.took, Inbox: t.inbox,
	}
	if o.State != amtp.Retrying {
		return o
	}
	if s.cfg.Limits.over(j, now) {
		o.State = amtp.Failed
		o.Text = fmt.Sprintf("given up after %d tries in %v; at last: %s", r.Attempts+1, now.Sub(j.Queued).Round(time.Second), t.text)
		return o
	}
	next := s.cfg.Limits.atLast(j, now.Add(s.cfg.Limits.retry(r.Attempts+1, t.retryAfter)))
	o.Next = later(next, until) // the last try, too, is one that can be made
	return o
}

// putOff is what is written down of a job whose target is left alone: put back, or
// given up when its time is over. s.mu may be held.
func (s *Service) putOff(j store.Job, until, now time.Time) []store.Outcome {
	if !s.cfg.Limits.over(j, now) {
		return putBack(j, s.cfg.Limits.atLast(j, s.cfg.Limits.putOff(later(until, now), now.Sub(j.Queued))), now)
	}
	outcomes := make([]store.Outcome, len(j.Recipients))
	for i, r := range j.Recipients {
		outcomes[i] = store.Outcome{
			MessageID: j.MessageID, Address: r.Address, At: now, State: amtp.Failed, Untried: true,
			Code: amtp.CodeDeliveryExpired, Text: "given up: there was no answer for as long as it was tried",
		}
	}
	s.notify(j, outcomes, now)
	return outcomes
}

// putBack is what is written down of a job that was not tried.
func putBack(j store.Job, next, now time.Time) []store.Outcome {
	outcomes := make([]store.Outcome, len(j.Recipients))
	for i, r := range j.Recipients {
		outcomes[i] = putBackOne(j, r, next, now)
	}
	return outcomes
}

func putBackOne(j store.Job, r store.JobRecipient, next, now time.Time) store.Outcome {
	return store.Outcome{MessageID: j.MessageID, Address: r.Address, At: now, State: amtp.Retrying, Untried: true, Next: next}
}

// Expedite makes everything due that waits for a target: it answers again, or is there no
// more. Where that fails, what is left is tried when it is due anyway.
func (s *Service) Expedite(ctx context.Context, target string, now time.Time) {
	for sel := (store.Selection{Target: target}); ; {
		done, err := s.cfg.Store.Expedite(ctx, sel, now)
		if err != nil {
			s.cfg.Log.Error("what waits for a target cannot be made due", "target", target, "err", err)
		}
		if sel.After = done.Next; sel.After == (store.Place{}) {
			return
		}
	}
}

// settleLater is settle in a goroutine of its own.
func (s *Service) settleLater(work context.Context, outcomes []store.Outcome) {
	if len(outcomes) > 0 {
		s.working.Go(func() { s.settle(work, time.Now().Add(s.cfg.Limits.Lease), outcomes) })
	}
}

// settle writes outcomes down, and goes on trying until the lease is over: whoever gets
// the job then delivers it once more, which receivers that know keys drop.
func (s *Service) settle(work context.Context, until time.Time, outcomes []store.Outcome) {
	for {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(work), settleTime)
		err := s.cfg.Store.Finish(ctx, outcomes)
		cancel()
		if err == nil {
			s.count(outcomes)
			return
		}
		if !store.Unavailable(err) && withoutNotices(outcomes) {
			s.cfg.Log.Error("a notice or a reply is not accepted", "id", outcomes[0].MessageID, "err", err)
			continue
		}
		s.cfg.Log.Error("a delivery cannot be written down", "id", outcomes[0].MessageID, "err", err)
		select {
		case <-work.Done():
			return
		case <-time.After(settleRetry):
		}
		if !time.Now().Before(until) {
			return
		}
	}
}

// withoutNotices takes the messages out of outcomes, and reports whether there were any.
func withoutNotices(outcomes []store.Outcome) (some bool) {
	for i := range outcomes {
		some = some || outcomes[i].Notice != nil
		outcomes[i].Notice = nil
	}
	return some
}

func (s *Service) count(outcomes []store.Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range outcomes {
		switch {
		case o.State == amtp.Failed:
			s.stats.Failed++
		case o.Untried:
		case o.State == amtp.Delivered:
			s.stats.Delivered++
		case o.State == amtp.Delivering:
			s.stats.HandedOn++
		case o.State == amtp.Retrying:
			s.stats.Retried++
		}
		switch {
		case o.Notice == nil:
		case o.State == amtp.Failed:
			s.stats.Notices++
		default:
			s.stats.Replies++
		}
	}
}

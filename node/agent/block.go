package agent

import (
	"bytes"
	"maps"
	"time"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
)

// What a change of the policy does to what is under way (session.md §10.3). Knocks and
// messages that come are judged by the policy of their moment anyway.

// PolicyChanged has the policy in force judge what is under way. It does not wait.
func (a *Agent) PolicyChanged() {
	a.rulings.Add(1)
	for _, c := range a.allClerks() {
		c.nudge()
	}
	peers, err := a.barred()
	if err != nil {
		a.fail(err)
		return
	}
	for peer := range peers {
		a.wake(peer)
	}
}

// barred lists the peers with whom the policy may want something to end. Their clerks
// look closer; all others need not be woken.
func (a *Agent) barred() (map[identity.AMID]bool, error) {
	known, err := a.findPeers()
	if err != nil {
		return nil, err
	}
	barred := make(map[identity.AMID]bool)
	policy, now := a.Policy(), a.expiry.now()
	err = a.Store.View(func(r store.Reader) error {
		err := scanJSON(r, a.key(rowKnock), nil, func(_ []byte, row knockRow) bool {
			if !row.Out && row.State == knockPending {
				barred[row.Peer] = true
			}
			return true
		})
		if err != nil {
			return err
		}
		for peer := range known {
			left, err := a.remains(r, policy, peer, now)
			if err != nil {
				return err
			}
			barred[peer] = barred[peer] || !left
		}
		return nil
	})
	maps.DeleteFunc(barred, func(_ identity.AMID, yes bool) bool { return !yes })
	return barred, err
}

// remains reports whether the policy leaves anything of the grants that hold between the
// peer and us. Where none holds, nothing was taken away.
func (a *Agent) remains(r store.Reader, policy *knock.Policy, peer identity.AMID, now time.Time) (bool, error) {
	if policy.Blocked(peer) {
		return false, nil
	}
	held := 0
	for _, kind := range []byte{rowGrant, rowReturn} {
		g, found, err := getJSON[Grant](r, a.key(kind, peer[:]))
		if err != nil {
			return false, err
		}
		if !found || !g.Valid(now) {
			continue
		}
		if policy.Leaves(peer, g.Intents) {
			return true, nil
		}
		held++
	}
	return held == 0 || policy.Welcomes(peer), nil
}

// judge ends what the policy in force does not let be, once after each change of it.
func (c *clerk) judge() (bool, error) {
	ruling := c.a.rulings.Load()
	if c.judged == ruling {
		return false, nil
	}
	policy := c.a.Policy()
	c.blocked = policy.Blocked(c.peer)
	b := c.begin()
	if err := c.judgeKnocks(b, policy); err != nil {
		return true, err
	}
	var left bool
	err := c.a.Store.View(func(r store.Reader) (err error) {
		left, err = c.a.remains(r, policy, c.peer, b.now)
		return err
	})
	if err != nil {
		return true, err
	}
	if !left {
		if err := c.part(b); err != nil {
			return true, err
		}
	}
	worked := !b.empty()
	if err := c.commit(b); err != nil {
		return true, err
	}
	c.judged = ruling
	return worked, nil
}

// judgeKnocks refuses those knocks of the peer that wait for the owner and would not
// wait any more.
func (c *clerk) judgeKnocks(b *batch, policy *knock.Policy) error {
	for _, s := range c.sess {
		if s.Asker || s.Answer != knock.AnswerAsked {
			continue
		}
		d := policy.Evaluate(knock.Facts{Peer: c.peer, Intent: s.Intent, Mode: s.mode(), Tier: s.Tier})
		if d.Verdict != knock.Reject {
			continue
		}
		var row knockRow
		err := c.a.Store.View(func(r store.Reader) (err error) {
			row, _, err = getJSON[knockRow](r, c.a.key(rowKnock, s.KnockHash[:]))
			return err
		})
		if err != nil {
			return err
		}
		row.Rule = d.Rule
		if err := c.answer(b, b.session(s), &row, knock.OwnerRefuses, time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

// part closes the sessions with a peer that nothing is left for, and drops what waits to
// be opened. With one that is blocked everything else ends as well; its grants are gone
// for good.
func (c *clerk) part(b *batch) error {
	b.then(func() { c.hold = hold{} })
	class := flightControl
	if c.blocked {
		class = flightAnswer // no receipt of a blocked peer is looked at
		if err := c.cutOff(b); err != nil {
			return err
		}
	}
	for _, s := range c.sess {
		if !s.accepted() || s.Closed {
			continue
		}
		if err := c.end(b, s, content.ClosePolicy, class); err != nil {
			return err
		}
	}
	return nil
}

// cutOff ends what is under way to a blocked peer but for its messages, which endOverdue
// ends: our knocks, envelopes, the receipts that are due, and the grants. Our noes still
// go out.
func (c *clerk) cutOff(b *batch) error {
	for _, f := range c.flights {
		if f.Class != flightAnswer {
			b.land(f)
		}
	}
	for _, s := range c.sess {
		if s.waiting() {
			b.erase(s)
			c.takeTailBack(b, s)
			c.setKnockState(b, s.KnockHash, knockExpired)
		}
	}
	var doomed [][]byte
	err := c.a.Store.View(func(r store.Reader) error {
		return r.Scan(c.a.key(rowDue, c.peer[:]), nil, func(k, _ []byte) bool {
			doomed = append(doomed, bytes.Clone(k))
			return true
		})
	})
	if err != nil {
		return err
	}
	doomed = append(doomed, c.a.key(rowGrant, c.peer[:]), c.a.key(rowReturn, c.peer[:]), c.a.key(rowJoin, c.peer[:]))
	b.write(func(tx store.Tx, _ *peerRow, _ *[]func()) error {
		for _, k := range doomed {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
	b.then(func() {
		c.mute, c.trusted, c.wish = false, false, nil
		c.lost.ids = nil
		c.lookup.reset()
	})
	c.setReason("")
	return nil
}

// shunned reports whether a message ends because its peer is blocked. What the peer has
// is not undone by that.
func (c *clerk) shunned(o *outRow) bool { return c.blocked && undelivered(o) }

// shun drops what arrived from a blocked peer, unopened.
func (c *clerk) shun(ins []arrival) {
	for _, arr := range ins {
		arr.Ack()
	}
	c.hold = hold{}
}

// rejectCode is what a peer is told with a no. That it is blocked is told only to one
// that holds a grant: to a stranger it would show the block list.
func (c *clerk) rejectCode() (content.RejectCode, error) {
	if !c.a.Policy().Blocked(c.peer) {
		return content.Rejected, nil
	}
	held, err := c.grants()
	if len(held) > 0 {
		return content.Blocked, err
	}
	return content.Rejected, err
}

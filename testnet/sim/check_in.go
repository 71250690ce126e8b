package sim

import (
	"fmt"
	"math"
	"slices"

	"amesh/node/api"
)

// The receiver's side of Check.

// What a receiver's rows may say of a message, beside the states of its inbox.
const (
	everSeen    = "seen"
	everTaken   = "taken"
	everRefused = "not taken"
	everLeased  = "leased once"
)

func (j *judge) seen(e Event) {
	m := j.message(e.Peer, e.Who, e.ID)
	m.atReceiver.seen, m.refused = true, e.Reason
	m.ever[everSeen] = true
	if e.Reason == "" {
		m.ever[everTaken] = true
	} else {
		m.ever[everRefused] = true
	}
}

// inRow judges what an agent is shown.
func (j *judge) inRow(e Event) {
	m := j.message(e.Peer, e.Who, e.ID)
	l := j.line(e.Peer, e.Who)
	if m.in != "" && inboxEnd(m.in) && e.State != m.in {
		j.complain("I3: the message was %s and is %s", m.in, e.State)
	}
	m.in = e.State
	m.ever[e.State] = true
	if e.State != string(api.InboxNew) {
		m.leased, m.ever[everLeased] = true, true
	}
	if !e.Shown {
		return
	}
	if m.shown++; m.shown > 1 {
		j.complain("I2: the message entered the inbox %d times", m.shown)
	}
	l.shown = append(l.shown, m)
	if e.Found {
		m.settled = inboxEnd(e.State)
		if !e.Late {
			l.last = e.Seq
		}
		return
	}
	if m.digest == "" {
		j.complain("I10: nobody sent this message")
	} else if m.digest != e.Digest {
		j.complain("I2: another body arrived")
	}
	j.order(e, m, l)
}

// order judges whether it was a message's turn.
func (j *judge) order(e Event, m *message, l *line) {
	switch {
	case e.Late && (l.old || e.Seq <= l.last):
		return // of an epoch that is over, or after its gap was told
	case e.Seq <= l.last && l.anew:
		l.last, l.anew = 0, false
	case e.Seq <= l.last:
		j.complain("I4: shown after sequence %d, and not marked late", l.last)
		return
	}
	missing := l.missing(m, e.Seq)
	l.last = e.Seq
	if missing > e.Gap {
		j.complain("I4: %d messages are missing before this one, %d were told", missing, e.Gap)
	}
}

// missing counts what is owed before a message, in that of the epochs which it may be of
// where it is the least.
func (l *line) missing(m *message, seq uint64) uint64 {
	least := uint64(math.MaxUint64)
	for _, epoch := range l.bySeq {
		if epoch[seq] != m {
			continue
		}
		n := uint64(0)
		for s := l.last + 1; s < seq; s++ {
			if !excused(epoch[s]) {
				n++
			}
		}
		least = min(least, n)
	}
	return least
}

// leases judges what an agent is given to work on.
func (j *judge) leases(e Event) {
	m := j.message(e.Peer, e.Who, e.ID)
	if m.settled {
		j.complain("I3: %s was given a message again that it was told is done", e.Who)
	}
	for _, before := range j.line(e.Peer, e.Who).shown {
		if before == m {
			return
		}
		if !inboxEnd(before.in) {
			j.complain("I4: sequence %d was given out before sequence %d was done", m.seq, before.seq)
			return
		}
	}
}

// excused reports whether the receiver may go on without a message: it never was, it
// came to its end, the receiver refused it, or it was shown out of turn.
func excused(m *message) bool {
	return m == nil || m.refused != "" || m.shown > 0 || m.ended || m.gone
}

func inboxEnd(state string) bool {
	switch api.InboxState(state) {
	case api.InboxHandled, api.InboxFailed, api.InboxRefused:
		return true
	}
	return false
}

// answered judges what becomes of a knock at the one who was asked.
func (j *judge) answered(e Event) {
	k := j.knocks[e.Who+" "+e.ID]
	if k == nil {
		j.complain("I10: a knock was answered that nobody made")
		return
	}
	first, life := k.state == "", j.node(e.Who).life
	switch k.state {
	case "accepted", "rejected", "expired":
		j.complain("T19: the knock was %s and is %s", k.state, e.State)
	}
	k.state = e.State
	if !first || e.State == "expired" { // it waited in a state of before
		return
	}
	for _, key := range k.keys {
		if !slices.Contains(e.OneTime, key) {
			j.complain("T20: the knock was opened, and the one-time key %s is there still", key)
		}
		use := fmt.Sprint(e.Who, " ", life, " ", key)
		if other := j.spent[use]; other != "" {
			j.complain("T20: the one-time key %s opened the knock %s before", key, tail(other))
		}
		j.spent[use] = e.ID
	}
}

package sim

import (
	"slices"

	"amesh/node/api"
)

// The sender's side of Check.

func (j *judge) accepted(e Event) {
	m := j.message(e.Who, e.Peer, e.ID)
	m.accepted, m.due = true, e.Due
	if m.seq == 0 {
		j.complain("I6: accepted without a row")
	}
}

// outRow judges a step of the sender's row by what is durable at the receiver.
func (j *judge) outRow(e Event) {
	m := j.message(e.Who, e.Peer, e.ID)
	if m.seq == 0 {
		l := j.line(e.Who, e.Peer)
		if l.now()[e.Seq] != nil {
			j.complain("I4: sequence %d was given twice", e.Seq)
		}
		l.now()[e.Seq] = m
	} else if m.seq != e.Seq {
		j.complain("I4: the sequence of a message changed from %d to %d", m.seq, e.Seq)
	}
	m.seq, m.digest, m.gone = e.Seq, e.Digest, false
	if e.Found {
		m.state, m.ended = e.State, terminal(e.State)
		return
	}
	if m.ended && !terminal(e.State) {
		j.complain("I1: %s had its end and is %s", m.state, e.State)
	}
	m.state = e.State
	j.believed(e, m)
	if !terminal(e.State) || m.ended {
		return
	}
	m.ended = true
	if m.accepted {
		j.inTime(e, m)
	}
}

// inTime judges the moment at which a message came to its end.
func (j *judge) inTime(e Event, m *message) {
	if limit := max(m.due+j.slack.End, j.node(e.Who).started+grace); e.At > limit {
		j.complain("I1: the end came %s after the deadline", e.At-m.due)
	}
	timeOut := e.State == string(api.StateExpired) || e.State == string(api.StateDead) ||
		(e.State == string(api.StateRefused) && e.Reason == "expired")
	if timeOut && e.At < m.due-j.slack.Early {
		j.complain("I1: given up %s before the deadline", m.due-e.At)
	}
	// The word that a message was handled is not sent until it is known to have arrived: a
	// relay that forgets can lose it, and so can a node that dies while it holds it back, or
	// one whose state is undone.
	lost := (j.unkept || j.undoneOnce(m)) && m.ever[everSeen]
	lost = lost || j.line(m.from, m.to).unanswered
	if timeOut && !lost && j.healed > 0 && m.due > j.healed+j.slack.Heal {
		j.complain("I1: given up, and there were %s to bring it after the last trouble", m.due-j.healed)
	}
}

// undoneOnce reports whether a state was undone at an end of a message.
func (j *judge) undoneOnce(m *message) bool { return j.node(m.from).life+j.node(m.to).life > 2 }

// believed checks what the sender was told against the rows that the receiver ever had.
func (j *judge) believed(e Event, m *message) {
	missing := ""
	switch api.State(e.State) {
	case api.StateRelayed:
		missing = "no envelope of it is at a relay"
		for env := range m.envelopes {
			if j.promised[env] {
				missing = ""
			}
		}
	case api.StateDelivered:
		if !m.ever[everTaken] {
			missing = "the receiver does not have it"
		}
	case api.StateLeased:
		if !m.ever[everLeased] {
			missing = "the receiver never leased it"
		}
	case api.StateHandled, api.StateFailed:
		if !m.ever[e.State] {
			missing = "the receiver's row is " + m.in
		}
	case api.StateRefused:
		if !m.ever[e.State] && !m.ever[everRefused] && m.shown > 0 && !j.undoneOnce(m) {
			missing = "the receiver took it"
		}
	}
	if missing != "" {
		j.complain("I6: %s at the sender, but %s", e.State, missing)
	}
}

// leaves judges an envelope that goes out.
func (j *judge) leaves(e Event) {
	j.carried[e.Peer+e.Envelope] = true
	if e.Tail != "" {
		j.carried[e.Peer+e.Tail] = true
	}
	if at := e.Peer + " " + e.ID; e.ID != "" && j.knocks[at] == nil {
		j.knocks[at] = &knocked{from: e.Who, keys: slices.Clone(e.OneTime)}
		for _, key := range e.OneTime {
			if j.given[e.Peer+" "+key] {
				j.complain("T20: the one-time key %s was given for another knock", key)
			}
			j.given[e.Peer+" "+key] = true
		}
	}
	life := j.sealed[e.Who+e.Envelope]
	if life == 0 {
		j.complain("I6: an envelope left that is not on disk")
	}
	if e.Old && life == j.node(e.Who).life {
		j.complain("T31: sealed in a session of before the state was undone")
	}
	if at, moment := j.uttered[e.Who+e.Envelope]; moment && (e.At-at > momentLife || at < j.node(e.Who).started) {
		j.complain("§9.6: what was of the moment left %s later, or was of a process that is gone", e.At-at)
	}
	if e.Early {
		j.complain("T37: it left before the peer's yes")
	}
	if len(e.Marks) == 0 {
		j.complain("I5: an envelope left whose header key is in no session on disk")
	}
	for _, mark := range e.Marks {
		if first := j.marks[mark.Use]; first == "" {
			j.marks[mark.Use] = mark.Box
		} else if first != mark.Box {
			j.complain("I5: %s sealed something else before", mark.Use)
		}
	}
}

package agent

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
)

// What a session may carry, kept by both sides (session.md §10.2).

// sessionUse is what was sent in a session, and since when.
type sessionUse struct {
	Since time.Time  `json:"since"`    // we sealed the accept, or opened it
	Heard time.Time  `json:"heard"`    // the asker first showed that it has the accept
	Out   knock.Used `json:"out"`      // what we sealed
	In    knock.Used `json:"in"`       // what we opened
	Last  uint64     `json:"last_seq"` // the highest sequence that we sealed
}

func (s *session) terms() knock.Terms {
	return knock.Terms{Type: content.SessionType(s.Type), Mode: content.Mode(s.Mode), Limits: s.Limits}
}

// oneWay reports whether the session is a stream that only the peer sends on.
func (s *session) oneWay() bool {
	return !s.Asker && s.Type == uint8(content.Stream)
}

// over reports whether the time is over in which messages are sealed.
func (s *session) over(now time.Time) bool {
	return s.Limits.Seconds > 0 && now.After(s.Since.Add(time.Duration(s.Limits.Seconds)*time.Second))
}

// lets reports whether another message of so many bytes may be sealed, when so much
// was.
func (s *session) lets(out knock.Used, size int, now time.Time) bool {
	return !s.over(now) && s.terms().Allows(out.Plus(size), s.Asker)
}

// late reports whether the peer made a message when its time was over. What counts is
// when it was made, not when it came: it may have waited at a relay. The asker's time
// begins when it opens the accept, which we know of when it first answers.
func (s *session) late(made time.Time, skew time.Duration) bool {
	start := s.Since
	if !s.Asker {
		start = s.Heard
	}
	return s.Limits.Seconds > 0 && !start.IsZero() && made.After(start.Add(time.Duration(s.Limits.Seconds)*time.Second+skew))
}

// askFor is what a knock for these rows asks for.
func (c *clerk) askFor(rows []outRow) (knock.Terms, error) {
	t := knock.Terms{Type: content.Conversation, Mode: c.a.Policy().AskMode(), Limits: c.a.Policy().SessionLimits}
	held, err := c.grants()
	for _, g := range held {
		t.Limits = t.Limits.Min(g.Limits)
	}
	if len(rows) > 0 && rows[0].Type != 0 {
		t.Type = rows[0].Type
	}
	return t, err
}

// controlSession is the session that carries skips and paths: the one we send on, else
// a stream on which we only receive messages.
func (c *clerk) controlSession() *session { return controlOf(c.sess) }

func controlOf(list []*session) *session {
	best := sender(list)
	if best != nil {
		return best
	}
	for _, s := range list {
		if s.accepted() && !s.Closed && (best == nil || s.Used.After(best.Used)) {
			best = s
		}
	}
	return best
}

// meetEnd is for the message that a session does not let through any more: it waits
// for another session. One that even a new session of our own asking does not let
// through would wait for ever, and is refused.
func (c *clerk) meetEnd(b *batch, s *session, o outRow) error {
	if s.Asker && s.Out.Messages == 0 && !s.over(b.now) {
		o.State, o.Reason = api.StateRefused, api.ReasonLimits
		c.finish(b, o)
		return nil
	}
	reason := content.CloseLimits
	switch {
	case s.Type == uint8(content.RequestResponse):
		reason = content.CloseDone
	case s.over(b.now):
		reason = content.CloseExpired
	}
	return c.end(b, s, reason, flightControl)
}

// pacedUntil is when another session may be asked for, zero for at once. Each side keeps
// only so many to receive on, and what is lost on one that is forgotten never comes: so
// none is pushed out before what was lost had its chance to come again.
func (c *clerk) pacedUntil() time.Time {
	var made []time.Time
	for _, s := range c.sess {
		if s.accepted() {
			made = append(made, s.Created)
		}
	}
	if len(made) < c.a.Limits.Receiving {
		return time.Time{}
	}
	slices.SortFunc(made, func(x, y time.Time) int { return y.Compare(x) })
	return made[c.a.Limits.Receiving-1].Add(c.a.Limits.SessionPace)
}

// paced reports whether messages wait because many sessions were made lately.
func (c *clerk) paced() bool {
	if !c.a.expiry.now().Before(c.pacedUntil()) {
		return false
	}
	c.setReason(api.ReasonLimits)
	return true
}

// breach counts a message of the peer, or the first part of one, and says why the
// session does not let it through, 0 when it does. s is the batch's own.
func (c *clerk) breach(s *session, d *content.Description, hash [32]byte, size int) content.Reason {
	if !s.attests(d, hash) {
		return content.ReasonSignature
	}
	in := s.In.Plus(size)
	if !s.terms().Allows(in, !s.Asker) || s.late(d.Created, c.a.Limits.Skew) {
		return content.ReasonLimits
	}
	s.In = in
	return 0
}

// breachOf is breach for a part. A long message is counted with its first part,
// without which it is never complete.
func (c *clerk) breachOf(s *session, p *content.Part) content.Reason {
	hash := content.HashOf(p.Description, p.Body)
	switch {
	case p.Index == 0:
		return c.breach(s, &p.Description, hash, int(p.Total))
	case !s.attests(&p.Description, hash):
		return content.ReasonSignature
	}
	return 0
}

// breachError is a breach as an error.
type breachError content.Reason

func (breachError) Error() string { return "the session does not let it through" }

// refuseBreach refuses a long message of which a part broke the session's terms, unless
// it was answered before.
func (c *clerk) refuseBreach(tx store.Tx, row *peerRow, after *[]func(), b *batch, p *content.Part, epoch uint32, why content.Reason) error {
	id := p.Description.ID
	seen, found, err := getJSON[seenRow](tx, c.a.key(rowSeen, c.peer[:], id[:]))
	if err != nil {
		return err
	}
	if found {
		return c.storeAgain(tx, b.wall, id, content.HashOf(p.Description, p.Body), seen)
	}
	return c.refuseParts(tx, row, after, b, p, epoch, breachError(why))
}

// partsReason is the reason that goes with a long message that is not taken.
func partsReason(why error) content.Reason {
	if breach, ok := errors.AsType[breachError](why); ok {
		return content.Reason(breach)
	}
	if errors.Is(why, errPartsBusy) {
		return content.ReasonBusy
	}
	return content.ReasonParts
}

// sessionType reads the type that a caller chose for the session that a message may
// need; 0 when it chose none.
func sessionType(name string) (content.SessionType, error) {
	if name == "" {
		return 0, nil
	}
	t, err := content.ParseSessionType(name)
	if err != nil {
		return 0, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "no session type %.40q", name).
			WithHint("want request_response, conversation or stream")
	}
	return t, nil
}

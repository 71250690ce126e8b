package agent

import (
	"context"
	"net/http"
	"slices"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
)

// What the owner sees of sessions, and how one is ended.

var closeReasons = map[content.CloseReason]string{
	content.CloseDone: "done", content.ClosePolicy: "policy", content.CloseExpired: "expired",
	content.CloseLimits: "limits", content.CloseShutdown: "shutdown",
}

// Sessions lists sessions, the ones used last first; with a peer, only those with it.
func (a *Agent) Sessions(peer string) ([]api.Session, error) {
	var only identity.AMID
	if peer != "" {
		var err error
		if only, err = a.Resolve(peer); err != nil {
			return nil, err
		}
	}
	peers, err := a.findPeers()
	if err != nil {
		return nil, err
	}
	list := []api.Session{}
	err = a.Store.View(func(r store.Reader) error {
		for p, some := range peers {
			if !some || (peer != "" && p != only) {
				continue
			}
			all, err := a.loadSessions(r, p)
			if err != nil {
				return err
			}
			best := sender(all)
			for _, s := range all {
				list = append(list, a.sessionView(p, s, s == best))
			}
		}
		return nil
	})
	slices.SortFunc(list, func(x, y api.Session) int { return y.LastUsed.Compare(x.LastUsed) })
	return list, err
}

func (a *Agent) sessionView(peer identity.AMID, s *session, sends bool) api.Session {
	v := api.Session{
		ID: knockID(s.KnockHash), Agent: a.Name, Peer: peer, Direction: "in", State: s.word(sends),
		Type: s.terms().Type.String(), Mode: s.mode().String(), Reason: closeReasons[s.Ended], LastUsed: s.Used,
		Limits:   api.SessionLimits{Messages: s.Limits.Messages, Bytes: s.Limits.Bytes, TTLSeconds: s.Limits.Seconds},
		Sent:     api.SessionUse{Messages: s.Out.Messages, Bytes: s.Out.Bytes},
		Received: api.SessionUse{Messages: s.In.Messages, Bytes: s.In.Bytes},
	}
	if s.Asker {
		v.Direction = "out"
	}
	if !s.Since.IsZero() {
		since := s.Since
		v.Since = &since
	}
	return v
}

// mode is how the session is signed.
func (s *session) mode() content.Mode {
	if s.Mode == 0 {
		return content.Private
	}
	return content.Mode(s.Mode)
}

// word is the session's state for its owner.
func (s *session) word(sends bool) string {
	switch {
	case s.waiting():
		return "knocking"
	case !s.Asker && s.Answer == knock.AnswerAsked:
		return "pending"
	case !s.accepted():
		return "unanswered"
	case s.Closed:
		return "closed"
	case sends:
		return "sending"
	}
	return "receiving"
}

// Kill closes the open sessions with a peer and returns them. The grant stays: the next
// message asks for another session.
func (a *Agent) Kill(ctx context.Context, peer string) ([]api.Session, error) {
	amid, err := a.Resolve(peer)
	if err != nil {
		return nil, err
	}
	none := api.Problemf(http.StatusNotFound, api.CodeNotFound, "no open session with %s", amid).
		WithHint("`amesh sessions` lists them")
	if !a.isKnown(amid) {
		return nil, none
	}
	closed, err := ask(ctx, a, amid, func(c *clerk) ([]api.Session, error) { return c.kill() })
	if err == nil && len(closed) == 0 {
		err = none
	}
	return closed, err
}

func (c *clerk) kill() ([]api.Session, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	b := c.begin()
	var closed []api.Session
	for _, s := range c.sess {
		if !s.accepted() || s.Closed {
			continue
		}
		if err := c.end(b, s, content.CloseDone, flightControl); err != nil {
			return nil, err
		}
		closed = append(closed, c.a.sessionView(c.peer, b.session(s), false))
	}
	return closed, c.commit(b)
}

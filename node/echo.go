package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"amesh/identity"
	"amesh/knock"
	"amesh/node/api"
)

// echoName is the name of the echo agent, and its folder in the home: apart from the
// owner's agents, so that it is there only while the owner offers it.
const echoName = "echo"

// Numbers of the echo agent, whom anybody may write to.
const (
	echoPerSender = 10               // answers to one sender a minute
	echoPerMinute = 120              // answers a minute
	echoSenders   = 1024             // senders counted a minute; others are refused
	echoBody      = 64 << 10         // bytes of the longest body that is sent back
	echoPause     = 10 * time.Second // after its mailroom failed
	echoLease     = time.Minute
)

// ErrEchoName is returned by Run when the echo agent is wanted, and an agent of the home
// has its name.
var ErrEchoName = errors.New("an agent of this home is called " + echoName)

// echoIdentity loads the echo agent's identity, or makes it.
func (h *home) echoIdentity(own map[string]*identity.Identity) (*identity.Identity, error) {
	if own[echoName] != nil {
		return nil, ErrEchoName
	}
	id, err := identity.LoadIdentity(h.path(echoName))
	if errors.Is(err, fs.ErrNotExist) {
		return identity.CreateIdentity(h.path(echoName), rand.Reader)
	}
	return id, err
}

// policyFor is the policy of one of our agents: the owner's, but that the echo agent
// lets everybody in who is not blocked.
func (m *mesh) policyFor(agent identity.AMID) *knock.Policy {
	p := m.policy.get()
	if agent != m.echo {
		return p
	}
	open := knock.DefaultPolicy()
	open.Strangers, open.Block, open.KnocksPerMinute = knock.StrangersAccept, p.Block, p.KnocksPerMinute
	return &open
}

// own are the owner's agents, without the echo agent.
func (m *mesh) own() []*room {
	list := make([]*room, 0, len(m.rooms))
	for _, r := range m.rooms {
		if r.agent.AMID() != m.echo {
			list = append(list, r)
		}
	}
	return list
}

// desk is what the echo agent needs of its mailroom; agent.Agent has the contracts.
type desk interface {
	Lease(ctx context.Context, r api.LeaseRequest) ([]api.InboxMessage, error)
	Send(ctx context.Context, r api.SendRequest, key string) (api.Message, error)
	Ack(ctx context.Context, id string, r api.AckRequest) (api.InboxItem, error)
}

// echoer answers every message with its body, and is done with it. It never answers an
// answer, so that two of them cannot keep each other busy, and refuses what comes too
// often.
type echoer struct {
	desk desk
	log  *slog.Logger

	minute time.Time // since when is counted
	count  int
	counts map[identity.AMID]int
}

// run answers until ctx ends.
func (e *echoer) run(ctx context.Context) error {
	for {
		got, err := e.desk.Lease(ctx, api.LeaseRequest{Max: 16, LeaseSeconds: int(echoLease.Seconds()), WaitSeconds: 60})
		for _, m := range got {
			if err := e.answer(ctx, m); err != nil && ctx.Err() == nil {
				e.log.Debug("echo not answered", "id", m.ID, "err", err) // it is handed out again
			}
		}
		if err != nil && ctx.Err() == nil {
			e.log.Warn("echo agent waits", "err", err)
			late := time.NewTimer(echoPause)
			select {
			case <-late.C:
			case <-ctx.Done():
			}
			late.Stop()
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

func (e *echoer) answer(ctx context.Context, m api.InboxMessage) error {
	done := api.AckRequest{Outcome: api.InboxHandled}
	switch {
	case m.ReplyTo != "":
	case len(m.Body) > echoBody:
		done = api.AckRequest{Outcome: api.InboxRefused, Text: fmt.Sprintf("an echo has at most %d bytes", echoBody)}
	case !e.allow(m.From):
		done = api.AckRequest{Outcome: api.InboxRefused, Text: fmt.Sprintf("at most %d echoes a minute", echoPerSender)}
	default:
		// The id as key: when the end is not noted, the same answer is not sent twice.
		_, err := e.desk.Send(ctx, api.SendRequest{
			To: m.From.String(), Body: m.Body, ContentType: m.ContentType, FileName: m.FileName, Intent: m.Intent, Thread: m.Thread, ReplyTo: m.ID,
		}, "echo-"+m.ID)
		if err != nil {
			return err
		}
	}
	_, err := e.desk.Ack(ctx, m.ID, done)
	return err
}

// allow reports whether one more answer may go to a sender, and counts it if so.
func (e *echoer) allow(from identity.AMID) bool {
	if now := time.Now(); now.Sub(e.minute) >= time.Minute || e.counts == nil {
		e.minute, e.count, e.counts = now, 0, make(map[identity.AMID]int)
	}
	if e.count >= echoPerMinute || e.counts[from] >= echoPerSender || len(e.counts) >= echoSenders && e.counts[from] == 0 {
		return false
	}
	e.count++
	e.counts[from]++
	return true
}

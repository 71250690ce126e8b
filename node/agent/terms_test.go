package agent

import (
	"fmt"
	mrand "math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node/api"
	"amesh/ratchet"
)

// patience is how long a test waits for a message to get somewhere.
const patience = 10 * time.Second

// rule changes a person's policy, while it is read or not.
func (p *person) rule(t *testing.T, key, value string) {
	t.Helper()
	next, err := p.will().Set(key, value)
	if err != nil {
		t.Fatal(err)
	}
	p.newPolicy.Store(&next)
}

// sessionsOf are the sessions with a peer as they stand on disk.
func sessionsOf(t *testing.T, p, peer *person) []*session {
	t.Helper()
	var list []*session
	err := p.mem.View(func(r store.Reader) (err error) {
		list, err = p.loadSessions(r, peer.AMID())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func closedFor(list []*session, why content.CloseReason) int {
	n := 0
	for _, s := range list {
		if s.Closed && s.Ended == why {
			n++
		}
	}
	return n
}

// Both sides' limits hold, the stricter one; what does not fit into a session goes in the
// next, in order, and nobody's owner is asked again.
func TestMessagesGoOnInTheNextSession(t *testing.T) {
	for name, c := range map[string]struct {
		who, key, value string
		sessions        int
	}{
		"messages, by the receiver": {"bob", "session_messages", "3", 3},
		"messages, by the sender":   {"ann", "session_messages", "3", 3},
		"bytes":                     {"bob", "session_bytes", "16", 4}, // of 7 bytes each
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
			map[string]*person{"ann": ann, "bob": bob}[c.who].rule(t, c.key, c.value)
			for i := range 8 {
				w.send(ann, bob, fmt.Sprint("letter", i), api.StateAccepted)
			}
			for i, m := range w.take(bob, 8) {
				if string(m.Body) != fmt.Sprint("letter", i) {
					t.Fatalf("place %d has %q", i, m.Body)
				}
			}
			quiet(t, ann, bob.AMID())
			quiet(t, bob, ann.AMID())
			for _, side := range [][2]*person{{ann, bob}, {bob, ann}} {
				list := sessionsOf(t, side[0], side[1])
				if n := closedFor(list, content.CloseLimits); len(list) != c.sessions || n != c.sessions-1 {
					t.Errorf("%s has %d sessions, %d closed for their limits; want %d in all", side[0].name, len(list), n, c.sessions)
				}
				named := make(map[[32]byte]bool)
				for _, s := range list {
					if named[s.Prev] {
						t.Errorf("%s: two sessions replace the same", side[0].name)
					}
					named[s.Prev] = true
				}
			}
			knocks, err := bob.Knocks()
			if err != nil || len(knocks) != c.sessions {
				t.Fatalf("%d knocks, %v", len(knocks), err)
			}
			for _, k := range knocks[:len(knocks)-1] {
				if k.State != knockAccepted || k.Rule != "grant" {
					t.Errorf("a knock was %s by %s", k.State, k.Rule)
				}
			}
		})
	}
}

// A session whose time is over is closed when there is more to say, not before.
func TestSessionHasItsTime(t *testing.T) {
	w := newWorld(t)
	var later atomic.Int64
	w.clock = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	bob.rule(t, "session_ttl", "3600")
	w.send(ann, bob, "1", api.StateDelivered)
	later.Store(int64(59 * time.Minute))
	w.send(ann, bob, "2", api.StateDelivered)
	if n := len(sessionsOf(t, bob, ann)); n != 1 {
		t.Fatalf("%d sessions in the first hour", n)
	}
	later.Store(int64(61 * time.Minute))
	w.send(bob, ann, "3", api.StateDelivered)
	w.send(ann, bob, "4", api.StateDelivered)
	if list := sessionsOf(t, bob, ann); len(list) != 2 || closedFor(list, content.CloseExpired) != 1 {
		t.Errorf("bob has %d sessions after an hour, %d closed", len(list), closedFor(list, content.CloseExpired))
	}
}

// What no session of our own asking lets through ends, instead of waiting for ever.
func TestMessageThatFitsIntoNoSession(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	bob.rule(t, "session_bytes", "10")
	if m := w.send(ann, bob, "much too long for it", api.StateDelivered); m.State != api.StateRefused || m.Reason != api.ReasonLimits {
		t.Errorf("too long: %s (%s)", m.State, m.Reason)
	}
	if m := w.send(ann, bob, "short", api.StateDelivered); m.State != api.StateDelivered {
		t.Errorf("the next one: %s (%s)", m.State, m.Reason)
	}
}

func (w *world) sendIn(from, to *person, kind, text string) api.Message {
	w.t.Helper()
	m, err := from.Send(w.t.Context(), api.SendRequest{
		To: to.AMID().String(), Type: kind, Body: []byte(text), Wait: api.StateDelivered, TimeoutMS: 10_000,
	}, "")
	if err != nil || m.State != api.StateDelivered {
		w.t.Fatalf("%q in a %s: %s (%s), %v", text, kind, m.State, m.Reason, err)
	}
	return m
}

// In a request_response session each side sends one message.
func TestRequestAndResponse(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.sendIn(ann, bob, "request_response", "seats?")
	w.sendIn(bob, ann, "", "two")
	for _, p := range [][2]*person{{ann, bob}, {bob, ann}} {
		if list := sessionsOf(t, p[0], p[1]); len(list) != 1 || list[0].Closed {
			t.Fatalf("%s has %d sessions for one question and its answer", p[0].name, len(list))
		}
	}
	w.sendIn(ann, bob, "request_response", "and on Friday?")
	quiet(t, ann, bob.AMID())
	list := sessionsOf(t, ann, bob)
	if len(list) != 2 || closedFor(list, content.CloseDone) != 1 {
		t.Fatalf("%d sessions, %d closed as done", len(list), closedFor(list, content.CloseDone))
	}
	for _, s := range list {
		if s.Out.Messages != 1 || s.Type != uint8(content.RequestResponse) {
			t.Errorf("%d messages sent in a session of type %d", s.Out.Messages, s.Type)
		}
	}
}

// On a stream the responder sends no messages but everything else; its own go in a
// session of its own.
func TestStreamFlowsOneWay(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	for i := range 5 {
		w.sendIn(ann, bob, "stream", fmt.Sprint("tick ", i))
	}
	until(t, bob, "bob's places told on the stream", func() bool {
		row, _, err := getJSONView[peerRow](ann, ann.rowOf(bob, rowPeer))
		return err == nil && len(row.Places.Relays) == 1
	})
	if p, err := bob.peerView(ann.AMID()); err != nil || p.Session != "accepted" {
		t.Errorf("bob sees the session as %s, %v", p.Session, err)
	}
	w.sendIn(bob, ann, "", "stop")
	for _, s := range sessionsOf(t, bob, ann) {
		if s.Closed {
			t.Errorf("a session of type %d is closed", s.Type)
		}
		if s.Type == uint8(content.Stream) && (s.Out.Messages != 0 || s.In.Messages != 5) {
			t.Errorf("bob sent %d messages on the stream and got %d", s.Out.Messages, s.In.Messages)
		}
		if s.Type == uint8(content.Conversation) && (!s.Asker || s.Out.Messages != 1) {
			t.Errorf("bob sent %d messages in a conversation that he asked for: %t", s.Out.Messages, s.Asker)
		}
	}
	w.sendIn(ann, bob, "stream", "tick again")
}

// rowOf is the key of a row about a peer.
func (p *person) rowOf(peer *person, kind byte) []byte {
	amid := peer.AMID()
	return p.Agent.key(kind, amid[:])
}

// The receiver counts as well: what a sender seals beyond the terms is refused.
func TestSenderThatDoesNotStop(t *testing.T) {
	for name, c := range map[string]struct {
		typ    content.SessionType
		limits content.Limits
		size   int
	}{
		"too many messages": {content.Conversation, content.Limits{Messages: 1}, 5},
		"too many bytes":    {content.Conversation, content.Limits{Bytes: 60_000}, 50_000}, // in parts
		"a second request":  {content.RequestResponse, content.Limits{}, 50_000},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
			w.sendIn(ann, bob, "", string(make([]byte, c.size)))
			quiet(t, ann, bob.AMID())
			onClerk(t, bob, ann.AMID(), func(k *clerk) error {
				b := k.begin()
				s := b.session(k.sess[0])
				s.Type, s.Limits = uint8(c.typ), c.limits
				return k.commit(b)
			})
			m := w.send(ann, bob, string(make([]byte, c.size)), api.StateDelivered)
			if m.State != api.StateRefused || m.Reason != api.ReasonLimits {
				t.Errorf("%s (%s)", m.State, m.Reason)
			}
			if page, err := bob.Inbox(api.InboxQuery{All: true}); err != nil || len(page.Items) != 1 {
				t.Errorf("%d messages in the inbox, %v", len(page.Items), err)
			}
			if n := count(t, bob, rowPart) + count(t, bob, rowParts); n != 0 {
				t.Errorf("%d rows of parts are left", n)
			}
		})
	}
}

// What was made in time is taken whenever it comes; what was made later is not, with the
// skew of two clocks between.
func TestTimeIsJudgedByWhenItWasMade(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	w.send(ann, bob, "1", api.StateDelivered)
	quiet(t, ann, bob.AMID())
	start := time.Now()
	onClerk(t, bob, ann.AMID(), func(c *clerk) error {
		s := c.sess[0].clone()
		s.Limits.Seconds, s.Since, s.Heard = 60, start.Add(-time.Hour), start
		for _, x := range []struct {
			name string
			made time.Time
			want content.Reason
		}{
			{"at its start", start, 0},
			{"within the skew", start.Add(time.Minute + 10*time.Minute), 0},
			{"after it", start.Add(time.Minute + 10*time.Minute + time.Second), content.ReasonLimits},
		} {
			d := content.Description{ID: uuid.New(), Sequence: 2, Created: x.made, Deadline: x.made.Add(time.Hour), Intent: "message"}
			if got := c.breach(s, &d, [32]byte{}, 1); got != x.want {
				t.Errorf("made %s: reason %d, want %d", x.name, got, x.want)
			}
		}
		return nil
	})
}

// An accept that is not what was asked for is ignored: no grant, no session.
func TestAcceptOfSomethingElse(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	ann.rule(t, "session_messages", "5")
	w.end(bob)
	w.send(ann, bob, "hello", api.StateAccepted)
	until(t, ann, "the knock", func() bool { return count(t, ann, rowFlight) == 1 })
	for name, change := range map[string]func(a *content.Accept){
		"another type":   func(a *content.Accept) { a.SessionType = content.Stream },
		"another mode":   func(a *content.Accept) { a.Mode = content.Accountable },
		"more messages":  func(a *content.Accept) { a.Limits.Messages = 6 },
		"without limits": func(a *content.Accept) { a.Limits = content.Limits{} },
	} {
		onClerk(t, ann, bob.AMID(), func(c *clerk) error {
			b := c.begin()
			s := b.session(c.asked())
			a := &content.Accept{
				Knock: s.KnockHash, SessionType: content.Conversation, Mode: content.Private, Limits: s.Limits, FirstSeq: 1, GrantExpires: orEpoch(time.Time{}),
			}
			change(a)
			if err := c.takeAccept(b, s, arrival{id: ratchet.ID{1}}, a); err != nil {
				return err
			}
			if s.accepted() || s.Ask != knock.AskKnocked {
				t.Errorf("%s: the knock is %s", name, s.Ask)
			}
			return c.commit(b)
		})
	}
	if n := count(t, ann, rowReturn) + count(t, ann, rowDue); n != 0 {
		t.Errorf("%d rows of a grant and its receipt", n)
	}
	w.start(bob) // whose answer fits
	w.take(bob, 1)
}

// A knock that a grant lets in leaves the grant as it is.
func TestKnockingDoesNotStretchAGrant(t *testing.T) {
	w := newWorld(t)
	ann, bob := w.person("ann", "ask"), w.person("bob", "ask")
	bob.rule(t, "session_messages", "1")
	w.send(ann, bob, "please", api.StateAccepted)
	if _, err := bob.Decide(t.Context(), waitForKnock(t, bob), true, api.DecideRequest{TTLSeconds: 3600}); err != nil {
		t.Fatal(err)
	}
	w.take(bob, 1)
	read := func(p, peer *person, kind byte) Grant {
		g, found, err := getJSONView[Grant](p, p.rowOf(peer, kind))
		if err != nil || !found || g.Expires.IsZero() {
			t.Fatalf("%s has the grant %+v, %v", p.name, g, err)
		}
		return g
	}
	own, back := read(bob, ann, rowGrant), read(ann, bob, rowReturn)
	w.send(ann, bob, "once more", api.StateDelivered)
	if n := len(sessionsOf(t, bob, ann)); n != 2 {
		t.Fatalf("%d sessions for two messages", n)
	}
	if got := read(bob, ann, rowGrant); !got.Expires.Equal(own.Expires) || !got.Since.Equal(own.Since) {
		t.Errorf("bob's grant ends %s, it ended %s", got.Expires, own.Expires)
	}
	if got := read(ann, bob, rowReturn); !got.Expires.Equal(back.Expires) {
		t.Errorf("ann believes in a grant until %s, it was %s", got.Expires, back.Expires)
	}
	// The other way round: ann lets bob in because he let her in, no longer than that.
	ann.rule(t, "session_messages", "1")
	w.send(bob, ann, "1", api.StateDelivered)
	w.send(bob, ann, "2", api.StateDelivered)
	if n := count(t, ann, rowGrant); n != 0 {
		t.Errorf("bob's words made %d grants of ann's own", n)
	}
}

// Both sides meet the end of sessions again and again, on a bad path and at once; all
// that they say arrives once and in order.
func TestBothMeetTheEnd(t *testing.T) {
	w := newWorld(t)
	w.limits.SessionPace = time.Second
	dice := mrand.New(mrand.NewPCG(3, 4))
	w.sb.meddle = func(Envelope) int { return []int{0, 1, 1, 1, 2}[dice.IntN(5)] }
	ann, bob := w.person("ann", "accept"), w.person("bob", "accept")
	ann.rule(t, "knocks_per_minute", "1000")
	bob.rule(t, "knocks_per_minute", "1000")
	bob.rule(t, "session_messages", "2")
	const n = 30
	for i := range n {
		w.send(ann, bob, fmt.Sprint("a", i), api.StateAccepted)
		w.send(bob, ann, fmt.Sprint("b", i), api.StateAccepted)
	}
	for _, p := range []*person{ann, bob} {
		from := map[string]string{"ann": "b", "bob": "a"}[p.name]
		for i, m := range w.take(p, n) {
			if string(m.Body) != fmt.Sprint(from, i) {
				t.Fatalf("%s got %q at place %d", p.name, m.Body, i)
			}
		}
	}
}

// A sender does not make sessions so fast that its receiver forgets one on which something
// was lost, and that comes when it is sent again.
func TestLostMessageOfAnOldSession(t *testing.T) {
	w := newWorld(t)
	w.limits.SessionPace = time.Second
	ann, bob := w.person("ann", "ask"), w.person("bob", "accept")
	bob.rule(t, "knocks_per_minute", "1000")
	w.send(ann, bob, "hello", api.StateDelivered)
	part(t, ann, bob)
	var lost ratchet.ID // the tail of the first knock, and its first repeat
	tries := 0
	w.sb.only(func(e Envelope) bool {
		k, err := knock.ParseKnock(e.Data)
		switch {
		case err == nil && len(k.Tail) > 0 && (lost == ratchet.ID{} || lost == ratchet.EnvelopeID(k.Tail)):
			lost = ratchet.EnvelopeID(k.Tail)
			w.sb.deliver(w.sb.agents[e.To], Envelope{From: e.From, To: e.To, Data: k.Bytes()})
			return false
		case e.ID == lost:
			tries++
			return tries > 2
		}
		return true
	})
	var sent []api.Message
	for i := range 20 {
		m, err := ann.Send(t.Context(), api.SendRequest{To: bob.AMID().String(), Type: "request_response", Body: []byte{byte(i)}}, "")
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, m)
	}
	until(t, ann, "the pace", func() bool {
		m, err := ann.Message(t.Context(), sent[19].ID, "", 0)
		return err == nil && m.State == api.StateWaiting && m.Reason == api.ReasonLimits
	})
	for i, m := range sent {
		m, err := ann.Message(t.Context(), m.ID, api.StateDelivered, 2*patience)
		if err != nil || m.State != api.StateDelivered {
			t.Fatalf("message %d: %s (%s), %v", i, m.State, m.Reason, err)
		}
	}
}

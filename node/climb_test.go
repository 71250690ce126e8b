package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/node/agent"
	"amesh/node/api"
	"amesh/node/direct"
	"amesh/node/path"
)

// bobsRoad is what alice's paths know of the way to bob.
func (s *roadside) bobsRoad() *road {
	s.paths.mu.Lock()
	defer s.paths.mu.Unlock()
	return s.paths.roads.of(bob)
}

func (s *roadside) state() path.State {
	r := s.bobsRoad()
	s.paths.mu.Lock()
	defer s.paths.mu.Unlock()
	return r.machine.State()
}

// T65: a path that dies is followed by the relay at once, and climbed again without
// anybody sending anything.
func TestT65DeadPathFallsBackAndIsClimbedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRoadside()
		s.done = make(map[string][]func(error))
		s.start(t)
		s.paths.Learn(bob, bobsPlaces, true)
		s.open("bob's node")
		s.send(1, 2)
		s.shut("bob's node")
		for _, n := range []string{"1", "2"} {
			s.done[n][0](direct.ErrNoAck)
		}
		s.send(3)
		if diff := cmp.Diff([]string{"direct 1", "direct 2", "relay 1", "relay 2", "relay 3"}, s.left()); diff != "" {
			t.Fatalf("-want +got\n%s", diff)
		}
		s.open("bob's node") // what the dial under way finds
		s.dialed <- nil
		synctest.Wait()
		s.send(4)
		if diff := cmp.Diff([]string{"direct 4"}, s.left()); diff != "" {
			t.Errorf("after the climb (-want +got)\n%s", diff)
		}
	})
}

// A path that dies twice within a minute does not carry again before it has held for a
// while, unless there is nothing else.
func TestPathThatFlapsIsWatchedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRoadside()
		s.start(t)
		s.paths.Learn(bob, bobsPlaces, true)
		for range 2 {
			s.open("bob's node")
			s.paths.connected("bob's node")
			s.send(1)
			s.shut("bob's node")
		}
		s.left()
		s.open("bob's node")
		s.paths.connected("bob's node")
		s.send(2)
		s.relay.down = true
		s.send(3)
		s.relay.down = false
		if got := s.paths.by(bob); got != api.PathNone {
			t.Errorf("while it is watched the path is %s", got)
		}
		time.Sleep(path.DefaultLimits().Hold)
		s.dialed <- nil // the echo
		synctest.Wait()
		s.send(4)
		if diff := cmp.Diff([]string{"relay 2", "direct 3", "direct 4"}, s.left()); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

// ring is one side of a punch in a test.
type ring struct {
	s       *roadside
	desc    content.ICEDescription
	opens   string // what open returns; empty: it fails
	blocked bool   // open hangs until it is given up
}

func (r *ring) local() content.ICEDescription { return r.desc }

func (r *ring) open(ctx context.Context, remote content.ICEDescription, controlling bool) (string, error) {
	r.s.note("punch " + remote.Ufrag + map[bool]string{true: " controlling"}[controlling])
	if r.blocked {
		<-ctx.Done()
		return "", ctx.Err()
	}
	if r.opens == "" {
		return "", errors.New("no pair answered")
	}
	return r.opens, nil
}

func (r *ring) pairs() []path.Pair { return []path.Pair{{Remote: "9.9.9.9:9", State: "failed"}} }
func (r *ring) close()             { r.s.note("closed") }

func (s *roadside) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, text)
}

const (
	outsideCandidate = "1 1 udp 1 9.9.9.9 9 typ srflx raddr 0.0.0.0 rport 0"
	insideCandidate  = "1 1 udp 1 192.168.1.2 9 typ host"
)

// puncher lets the paths of a roadside punch; what it says to bob is in the channel.
func (s *roadside) puncher(own identity.AMID, r *ring) <-chan content.Signal {
	said := make(chan content.Signal, 16)
	r.s = s
	r.desc.Ufrag = "alice"
	if r.desc.Candidates == nil {
		r.desc.Candidates = []string{outsideCandidate}
	}
	s.paths.own = own
	s.paths.begin = func(context.Context) (punch, error) { return r, nil }
	s.paths.signal = func(_ context.Context, _ identity.AMID, sig content.Signal) error {
		said <- sig
		return nil
	}
	return said
}

var bobsDescription = content.ICEDescription{PeerID: "bob's node", Ufrag: "bob", Candidates: []string{outsideCandidate}}

var bobsRelayOnly = agent.Places{PeerIDs: []string{"bob's node"}, Relays: []string{"ws://bob"}}

// Offer, answer, hole, dial, and then envelopes go through it; until then by relay.
func TestPunchingAsTheOneWhoAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRoadside()
		at := "/ip4/8.8.8.8/udp/1/quic-v1"
		said := s.puncher(alice, &ring{opens: at})
		s.start(t)
		s.paths.Learn(bob, bobsRelayOnly, true)
		s.send(1) // a single exchange does not punch
		s.paths.WantDirect(bob)
		offer := (<-said).(*content.ICEOffer)
		if offer.PeerID != "alice's node" || offer.Ufrag != "alice" {
			t.Errorf("offered: %+v", offer)
		}
		s.send(2)
		s.paths.Signalled(bob, &content.ICEAnswer{Attempt: content.Attempt{1}, ICEDescription: bobsDescription}) // of another attempt
		s.paths.Signalled(bob, &content.ICEAnswer{Attempt: offer.Attempt, ICEDescription: bobsDescription})
		s.paths.Signalled(bob, &content.ICEAnswer{Attempt: offer.Attempt, Code: content.PunchOff}) // one answer is enough
		s.dialed <- nil
		s.open("bob's node")
		synctest.Wait()
		s.paths.connected("bob's node")
		s.send(3)
		if got := s.paths.by(bob); got != api.PathPunched {
			t.Errorf("the path is %s", got)
		}
		if diff := cmp.Diff([]string{"relay 1", "relay 2", "punch bob controlling", "closed", "direct 3"}, s.left()); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	})
}

// What comes about at an address that the peer tells is what a dial would have made.
func TestHoleAtAToldAddressIsADirectPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const at = "/ip4/8.8.8.8/udp/1/quic-v1"
		s := newRoadside()
		said := s.puncher(alice, &ring{opens: at})
		s.start(t)
		told := bobsRelayOnly
		told.PeerIDs, told.Addresses = []string{"bob's node"}, []string{at}
		s.paths.Learn(bob, told, true)
		s.paths.Signalled(bob, &content.ICEOffer{Attempt: content.Attempt{7}, ICEDescription: bobsDescription})
		<-said
		synctest.Wait()
		s.open("bob's node")
		s.paths.connected("bob's node")
		if got := s.paths.by(bob); got != api.PathDirect {
			t.Errorf("the path is %s", got)
		}
		s.dialed <- nil
		synctest.Wait()
	})
}

// Who is asked answers, punches, and waits for the other one to dial.
func TestPunchingAsTheOneWhoIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRoadside()
		said := s.puncher(alice, &ring{opens: "/ip4/8.8.8.8/udp/1/quic-v1"})
		s.start(t)
		s.paths.Signalled(bob, &content.ICEOffer{Attempt: content.Attempt{7}, ICEDescription: bobsDescription})
		answer := (<-said).(*content.ICEAnswer)
		if answer.Attempt != (content.Attempt{7}) || answer.Code != content.Agreed || answer.PeerID != "alice's node" {
			t.Errorf("answered: %+v", answer)
		}
		synctest.Wait()
		s.open("bob's node")
		s.paths.connected("bob's node")
		if got := s.paths.by(bob); got != api.PathPunched {
			t.Errorf("the path is %s", got)
		}
		time.Sleep(inboundTimeout)
		synctest.Wait()
		if diff := cmp.Diff([]string{"punch bob", "closed"}, s.left()); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
		// It offers again: perhaps it lost the connection, which an echo shows.
		s.paths.Signalled(bob, &content.ICEOffer{Attempt: content.Attempt{8}, ICEDescription: bobsDescription})
		if again := (<-said).(*content.ICEAnswer); again.Code != content.PunchOpen || s.state() != path.Proving {
			t.Errorf("answered: %+v, %v", again, s.state())
		}
		s.dialed <- nil
		synctest.Wait()
		if s.state() != path.Open {
			t.Errorf("after the echo: %v", s.state())
		}
	})
}

// Both have offered: the agent with the lower name gives way and answers; the other one
// says glare.
func TestBothOfferAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		own  identity.AMID
		want content.AnswerCode
		log  []string
	}{
		{"the lower name", identity.AMID{1}, content.Agreed, []string{"closed", "punch bob"}},
		{"the higher name", identity.AMID{9}, content.PunchGlare, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newRoadside()
				said := s.puncher(c.own, &ring{blocked: true})
				s.start(t)
				s.paths.Learn(bob, bobsRelayOnly, true)
				s.paths.WantDirect(bob)
				ours := (<-said).(*content.ICEOffer)
				synctest.Wait()
				s.paths.Signalled(bob, &content.ICEOffer{Attempt: content.Attempt{7}, ICEDescription: bobsDescription})
				if got := (<-said).(*content.ICEAnswer); got.Code != c.want || got.Attempt != (content.Attempt{7}) {
					t.Errorf("answered: %+v", got)
				}
				// The other side says what it must; neither may end the attempt.
				s.paths.Signalled(bob, &content.ICEAnswer{Attempt: ours.Attempt, Code: content.PunchGlare})
				synctest.Wait()
				if s.state() != path.Punching {
					t.Errorf("%v", s.state())
				}
				left := s.left()
				slices.Sort(left) // two goroutines
				if diff := cmp.Diff(c.log, left); diff != "" {
					t.Errorf("-want +got\n%s", diff)
				}
			})
		})
	}
}

// Every way in which punching comes to nothing is remembered under its name, and mail
// goes by relay all the while.
func TestWhyPunchingCameToNothing(t *testing.T) {
	answer := func(code content.AnswerCode, d content.ICEDescription) func(*content.ICEOffer) content.Signal {
		return func(o *content.ICEOffer) content.Signal {
			return &content.ICEAnswer{Attempt: o.Attempt, Code: code, ICEDescription: d}
		}
	}
	inside := bobsDescription
	inside.Candidates = []string{insideCandidate}
	for _, c := range []struct {
		name   string
		ring   ring
		answer func(*content.ICEOffer) content.Signal // nil: none
		dial   error
		want   path.Code
	}{
		{"no answer", ring{}, nil, nil, path.PeerSilent},
		{"the peer wants none", ring{}, answer(content.PunchOff, content.ICEDescription{}), nil, path.PeerOff},
		{"the peer is busy", ring{}, answer(content.PunchBusy, content.ICEDescription{}), nil, path.PeerBusy},
		{"the peer cannot", ring{}, answer(content.PunchUnable, content.ICEDescription{}), nil, path.PeerUDP},
		{"two NATs", ring{}, answer(content.Agreed, bobsDescription), nil, path.NATs},
		{"no address from outside", ring{desc: content.ICEDescription{Candidates: []string{insideCandidate}}}, answer(content.Agreed, bobsDescription), nil, path.NoSTUN},
		{"no address of the peer's", ring{}, answer(content.Agreed, inside), nil, path.PeerUDP},
		{"no echo through the hole", ring{opens: "/ip4/8.8.8.8/udp/1/quic-v1"}, answer(content.Agreed, bobsDescription), errors.New("no"), path.Unproved},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newRoadside()
				said := s.puncher(alice, &c.ring)
				s.start(t)
				s.paths.Learn(bob, bobsRelayOnly, true)
				s.paths.WantDirect(bob)
				offer := (<-said).(*content.ICEOffer)
				if c.answer != nil {
					s.paths.Signalled(bob, c.answer(offer))
				}
				if c.dial != nil {
					s.dialed <- c.dial
				}
				time.Sleep(answerTimeout)
				synctest.Wait()
				s.send(1)
				got := s.paths.way(bob, path.Facts{Session: true})
				first := got.Attempts[len(got.Attempts)-1]
				if string(got.Reason) != string(c.want) && got.Reason != api.WhyTrying || got.Text == "" || got.Next == "" {
					t.Errorf("%s: %s; %s", got.Reason, got.Text, got.Next)
				}
				if first.Kind != api.AttemptICE || first.Error == "" || first.Outcome == api.OutcomeRunning {
					t.Errorf("remembered: %+v", first)
				}
				if left := s.left(); left[len(left)-1] != "relay 1" {
					t.Errorf("left: %q", left)
				}
			})
		})
	}
}

// An address of a carrier's NAT, or of an overlay network, leads nobody here: a node that
// has only such ones learnt nothing from outside.
func TestWhatIsAnAddressFromOutside(t *testing.T) {
	for candidate, want := range map[string]bool{
		outsideCandidate: true, insideCandidate: false,
		"1 1 udp 1 8.8.8.8 9 typ host":      true,
		"1 1 udp 1 2606:4700::1 9 typ host": true,
		"1 1 udp 1 100.64.3.4 9 typ host":   false,
		"1 1 udp 1 fd00::1 9 typ host":      false,
		"1 1 udp 1 127.0.0.1 9 typ host":    false,
		"1 1 udp 1 elsewhere 9 typ host":    false,
		"1 1 udp 1 8.8.8.8 9":               false,
	} {
		if got := outside(candidate); got != want {
			t.Errorf("%s: %v", candidate, got)
		}
	}
}

// The owner's no is said to the peer, and nothing is gathered.
func TestPunchingSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRoadside()
		said := make(chan content.Signal, 1)
		s.paths.signal = func(_ context.Context, _ identity.AMID, sig content.Signal) error {
			said <- sig
			return nil
		}
		s.start(t)
		s.paths.Learn(bob, bobsRelayOnly, true)
		s.paths.WantDirect(bob)
		s.paths.Signalled(bob, &content.ICEOffer{ICEDescription: bobsDescription})
		if got := (<-said).(*content.ICEAnswer); got.Code != content.PunchOff {
			t.Errorf("answered: %+v", got)
		}
		if got := s.paths.way(bob, path.Facts{Session: true}); got.Reason != api.WhyOff {
			t.Errorf("%s: %s", got.Reason, got.Text)
		}
	})
}

// Another network: what was under way is begun anew, and an open path is asked for an
// echo.
func TestAnotherNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRoadside()
		said := s.puncher(alice, &ring{blocked: true})
		s.start(t)
		s.paths.Learn(bob, bobsRelayOnly, true)
		s.paths.WantDirect(bob)
		first := (<-said).(*content.ICEOffer)
		time.Sleep(path.DefaultLimits().Spacing)
		s.paths.moved()
		if again := (<-said).(*content.ICEOffer); again.Attempt == first.Attempt {
			t.Error("the old offer once more")
		}
		s.open("bob's node")
		s.paths.connected("bob's node")
		s.paths.moved()
		s.dialed <- nil // somebody asks for an echo
		synctest.Wait()
		if s.state() != path.Open {
			t.Errorf("%v", s.state())
		}
		s.left()
	})
}

// The end comes while a punch is under way.
func TestEndDuringAPunch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRoadside()
		said := s.puncher(alice, &ring{blocked: true})
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.paths.run(ctx) })
		synctest.Wait()
		s.paths.Learn(bob, bobsRelayOnly, true)
		s.paths.WantDirect(bob)
		<-said
		stop()
		wg.Wait()
		s.paths.WantDirect(bob) // nothing starts any more
		s.paths.Signalled(bob, &content.ICEOffer{ICEDescription: bobsDescription})
		if got := strings.Join(s.left(), " "); got != "closed" {
			t.Errorf("%q", got)
		}
	})
}

package direct

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/identity"
	"amesh/internal/wire"
)

// These tests run a stream against a hand-made peer in a bubble of fake time.

type pipe struct{ net.Conn }

func (p pipe) Reset() error { return p.Close() }

// far is the peer's end of a stream under test.
type far struct {
	t     *testing.T
	conn  net.Conn
	in    *bufio.Reader
	began time.Time

	mu    sync.Mutex
	ended error
	when  time.Duration
	got   []Delivery
	up    bool
	calls []string                        // in the order they came
	keys  func(identity.AMID) OneTimeKeys // answers the stream under test gives; nil: none
}

func (f *far) note(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, what)
}

// bubble makes a stream and runs it; deliver may be nil.
func bubble(t *testing.T, limits Limits, deliver func(Delivery)) (*stream, *far) {
	t.Helper()
	near, conn := net.Pipe()
	f := &far{t: t, conn: conn, in: bufio.NewReader(conn), began: time.Now()}
	s := newStream(pipe{near}, "peer", "addr", limits, hooks{
		deliver: func(d Delivery) {
			f.mu.Lock()
			f.got = append(f.got, d)
			f.mu.Unlock()
			if deliver != nil {
				deliver(d)
			}
		},
		keys: func(of identity.AMID) OneTimeKeys {
			if f.keys == nil {
				return OneTimeKeys{}
			}
			return f.keys(of)
		},
		proven: func(*stream) { f.mu.Lock(); f.up = true; f.mu.Unlock() },
		ended: func(_ *stream, err error) {
			f.mu.Lock()
			f.ended, f.when = err, time.Since(f.began)
			f.mu.Unlock()
			f.note("ended")
		},
	})
	done := make(chan struct{})
	go func() { defer close(done); s.run() }()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return s, f
}

func (f *far) say(b []byte) {
	f.t.Helper()
	if _, err := f.conn.Write(b); err != nil {
		f.t.Fatal(err)
	}
}

func (f *far) hear() frame {
	f.t.Helper()
	fr, err := readFrame(f.in, maxFrame)
	if err != nil {
		f.t.Fatal(err)
	}
	return fr
}

// drain reads on and drops everything, until the stream ends.
func (f *far) drain() {
	go func() {
		for {
			if _, err := readFrame(f.in, maxFrame); err != nil {
				return
			}
		}
	}()
}

// greet does what an honest peer does first.
func (f *far) greet() {
	f.t.Helper()
	f.say(appendHello(nil))
	if h := f.hear(); h.kind != typeHello {
		f.t.Fatalf("first frame is %+v, want hello", h)
	}
	p := f.hear()
	if p.kind != typePing {
		f.t.Fatalf("second frame is %+v, want ping", p)
	}
	f.say(appendEcho(nil, typePong, p.nonce))
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.up {
		f.t.Fatal("not proven after the pong")
	}
}

func (f *far) end() (time.Duration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.when, f.ended
}

func letter(b byte) Envelope {
	data := []byte{b}
	sum := sha256.Sum256(data)
	return Envelope{From: amid(1), To: amid(2), ID: [idSize]byte(sum[:idSize]), Data: data}
}

func TestNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := bubble(t, DefaultLimits(), nil)
		f.greet()
		sent := time.Now()
		for _, name := range []string{"a", "b", "c"} {
			if err := s.send(letter(name[0]), func(err error) {
				if err != nil && !errors.Is(err, ErrNoAck) {
					t.Errorf("done(%v)", err)
				}
				if err != nil {
					name += " lost"
				}
				f.note(name)
			}); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 { // in one write or in several, as the writer finds them
			f.hear()
		}
		time.Sleep(600 * time.Millisecond)
		f.say(appendAcks(nil, [][idSize]byte{letter('a').ID}))
		f.drain()
		<-s.gone
		if took := time.Since(sent); took != time.Second {
			t.Errorf("given up after %v, want 1 s", took)
		}
		if err := s.cause(); !errors.Is(err, errDead) {
			t.Errorf("cause %v, want %v", err, errDead)
		}
		synctest.Wait()
		if d := cmp.Diff([]string{"a", "ended", "b lost", "c lost"}, f.calls); d != "" {
			t.Errorf("what happened (-want +got):\n%s", d)
		}
		if err := s.send(letter('d'), nil); !errors.Is(err, ErrNotOpen) {
			t.Errorf("send on a dead stream: %v, want ErrNotOpen", err)
		}
	})
}

func TestSilence(t *testing.T) {
	cases := []struct {
		name string
		peer func(*far)
		want time.Duration
		err  error
	}{
		{"nothing at all", func(f *far) { f.drain() }, 1500 * time.Millisecond, nil},
		{"hello but no pong", func(f *far) { f.say(appendHello(nil)); f.drain() }, 1500 * time.Millisecond, errDead},
		{"pong once", func(f *far) { f.greet(); f.drain() }, 4500 * time.Millisecond, errDead},
		{"doesn't read", func(f *far) { f.say(appendHello(nil)) }, time.Second, errDead},
		{"stops in the middle of a frame", func(f *far) { f.greet(); f.say([]byte{40, 0}); f.drain() }, 4500 * time.Millisecond, errDead},
		{"wrong pong", func(f *far) {
			f.say(appendHello(nil))
			f.say(appendEcho(nil, typePong, [nonceSize]byte{}))
			f.drain()
		}, 1500 * time.Millisecond, errDead},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, f := bubble(t, DefaultLimits(), nil)
				go c.peer(f)
				<-s.gone
				synctest.Wait()
				when, err := f.end()
				if when != c.want {
					t.Errorf("dead after %v, want %v", when, c.want)
				}
				if c.err != nil && !errors.Is(err, c.err) {
					t.Errorf("cause %v, want %v", err, c.err)
				}
			})
		})
	}
}

func TestPingsWhenQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, f := bubble(t, DefaultLimits(), nil)
		f.greet()
		for i := range 3 {
			p := f.hear()
			if p.kind != typePing {
				t.Fatalf("heard %+v, want ping", p)
			}
			f.say(appendEcho(nil, typePong, p.nonce))
			if at, want := time.Since(f.began), time.Duration(i+1)*3*time.Second; at != want {
				t.Errorf("ping %d after %v, want %v", i, at, want)
			}
		}
	})
}

// A peer that is heard all the time but doesn't hear us is a dead path too.
func TestTalkIsNoEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := bubble(t, DefaultLimits(), nil)
		f.greet()
		f.drain()
		go func() {
			for i := 0; ; i++ {
				if _, err := f.conn.Write(appendEnvelope(nil, amid(1), amid(2), []byte{byte(i)})); err != nil {
					return
				}
				select {
				case <-s.dead:
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		}()
		<-s.gone
		if when, _ := f.end(); when > 12*time.Second {
			t.Errorf("dead after %v, want 11.5 s", when)
		}
	})
}

// Our own slowness must not kill the path: the acks wait in our buffer.
func TestSlowDeliverIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := bubble(t, DefaultLimits(), func(Delivery) { time.Sleep(30 * time.Second) })
		f.greet()
		acked := make(chan error, 1)
		if err := s.send(letter('a'), func(err error) { acked <- err }); err != nil {
			t.Fatal(err)
		}
		f.hear()
		f.say(appendEnvelope(nil, amid(1), amid(2), []byte("slow")))
		f.say(appendAcks(nil, [][idSize]byte{letter('a').ID})) // its reader is busy for 30 s
		if err := <-acked; err != nil {
			t.Errorf("done(%v), want nil", err)
		}
		if err := s.cause(); err != nil {
			t.Errorf("stream died: %v", err)
		}
	})
}

func TestMisbehaviourEndsTheStream(t *testing.T) {
	envelope := appendEnvelope(nil, amid(1), amid(2), []byte("x"))
	cases := []struct {
		name  string
		after bool // hello
		say   []byte
	}{
		{"envelope before hello", false, envelope},
		{"ping before hello", false, appendEcho(nil, typePing, [nonceSize]byte{})},
		{"hello twice", true, appendHello(nil)},
		{"unknown frame type", true, []byte{2, 0, 9}},
		{"frame of 49,153 bytes", true, []byte{0x81, 0x80, 0x03}},
		{"frame with a byte left over", true, []byte{7, 0, 1, 0, 0, 0, 0, 0}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, f := bubble(t, DefaultLimits(), nil)
				f.drain()
				if c.after {
					f.say(appendHello(nil))
				}
				go f.conn.Write(c.say) // may be cut off by the reset
				<-s.gone
				if when, err := f.end(); when != 0 || !errors.Is(err, wire.ErrMalformed) {
					t.Errorf("ended after %v: %v, want malformed at once", when, err)
				}
				if len(f.got) != 0 {
					t.Errorf("delivered %v", f.got)
				}
			})
		})
	}
}

func TestPingFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := bubble(t, DefaultLimits(), nil)
		f.say(appendHello(nil)) // and reads nothing, so our pongs pile up
		go func() {
			for {
				if _, err := f.conn.Write(appendEcho(nil, typePing, [nonceSize]byte{})); err != nil {
					return
				}
			}
		}()
		<-s.gone
		if err := s.cause(); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("cause %v, want malformed", err)
		}
	})
}

func TestStrayAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := bubble(t, DefaultLimits(), nil)
		f.greet()
		calls := 0
		if err := s.send(letter('a'), func(error) { calls++ }); err != nil {
			t.Fatal(err)
		}
		f.hear()
		ids := [][idSize]byte{id(9), letter('a').ID, letter('a').ID}
		f.say(appendAcks(nil, ids))
		f.say(appendAcks(nil, ids))
		synctest.Wait()
		if calls != 1 {
			t.Errorf("done called %d times, want once", calls)
		}
		if err := s.cause(); err != nil {
			t.Errorf("stream died: %v", err)
		}
	})
}

func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := DefaultLimits()
		limits.Outstanding, limits.OutstandingBytes = 3, 100
		s, f := bubble(t, limits, nil)
		f.greet()
		settled := 0
		done := func(error) { settled++ }
		big := Envelope{ID: id(7), Data: make([]byte, 101)}
		if err := s.send(big, done); !errors.Is(err, ErrBusy) {
			t.Errorf("101 bytes of 100: %v, want ErrBusy", err)
		}
		for _, b := range []byte("aab") { // the first two are one envelope
			if err := s.send(letter(b), done); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.send(letter('c'), done); !errors.Is(err, ErrBusy) {
			t.Errorf("fourth of three: %v, want ErrBusy", err)
		}
		got := []frame{f.hear(), f.hear()}
		want := []frame{
			{kind: typeEnvelope, from: amid(1), to: amid(2), envelope: []byte("a")},
			{kind: typeEnvelope, from: amid(1), to: amid(2), envelope: []byte("b")},
		}
		if d := cmp.Diff(want, got, diffFrame); d != "" {
			t.Errorf("on the wire (-want +got):\n%s", d)
		}
		f.say(appendAcks(nil, [][idSize]byte{letter('a').ID}))
		synctest.Wait()
		if settled != 2 {
			t.Errorf("%d calls settled by one ack, want 2", settled)
		}
		if err := s.send(letter('c'), done); err != nil {
			t.Errorf("room again: %v", err)
		}
		if s.count != 2 || s.bytes != 2 {
			t.Errorf("%d envelopes, %d bytes under way, want 2 and 2", s.count, s.bytes)
		}
	})
}

func TestAcksAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := bubble(t, DefaultLimits(), nil)
		f.greet()
		var want [][idSize]byte
		for _, b := range []byte("abc") {
			f.say(appendEnvelope(nil, amid(1), amid(2), []byte{b}))
			want = append(want, letter(b).ID)
		}
		synctest.Wait()
		s.mu.Lock() // so that the writer sees them together
		s.acks = append(s.acks, f.got[0].ID, f.got[1].ID)
		s.mu.Unlock()
		f.got[2].Ack()
		f.got[2].Ack()
		if d := cmp.Diff(frame{kind: typeAck, ids: want}, f.hear(), diffFrame); d != "" {
			t.Errorf("ack (-want +got):\n%s", d)
		}
	})
}

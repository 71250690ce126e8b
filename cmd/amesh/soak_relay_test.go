package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/relay"

	"github.com/coder/websocket"
)

// CP 9 to 13 with a real process, and both kinds of clients at once: the relay is
// killed in the middle of everything. No message that it confirmed is lost, what
// comes again is the same message under the same id, and no client of 0.2 is given
// a frame twice.
func TestSoakKillRelayUnderBothKinds(t *testing.T) {
	if os.Getenv("AMESH_SOAK") == "" {
		t.Skip("SKIP: set AMESH_SOAK=1 for the kill loops")
	}
	const kills = 20
	s := newSoak(t)
	s.args["relay"] = []string{"relay", "--listen", "127.0.0.1:0", "--data", s.path("relay"), "--libp2p", "/ip4/127.0.0.1/udp/0/quic-v1"}
	url := s.start("relay")["relay"].(string)
	s.args["relay"][2] = strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/v1/connect")

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	reader := newAckReader(t, url, 2)
	wg.Go(func() { _ = reader.client.Run(ctx) })
	old := &oldClient{t: t, url: url, key: soakKey(t, 4), seen: map[string]bool{}}
	wg.Go(func() { old.run(ctx, nil) })
	oldSender := &oldClient{t: t, url: url, key: soakKey(t, 3)}
	// Within the rate of 0.2, which starts anew with each relay. Half goes to each
	// kind of reader.
	said := 0
	wg.Go(func() {
		oldSender.run(ctx, func(ws *websocket.Conn) {
			for range 45 {
				for _, to := range []identity.AMID{old.key.AMID(), reader.who} {
					if !oldSend(ctx, ws, to, strconv.Itoa(said)) {
						return
					}
				}
				said++
			}
		})
	})
	sender := newAckSender(t, url, 1, reader.who)
	wg.Go(func() { _ = sender.client.Run(ctx) })
	// What it repeats after a kill, the 0.2 reader may have been given already.
	toOld := newAckSender(t, url, 5, old.key.AMID())
	wg.Go(func() { _ = toOld.client.Run(ctx) })
	sending, enough := context.WithCancel(ctx)
	sent, sentToOld := make(chan int, 1), make(chan int, 1)
	go func() { sent <- sender.send(sending) }()
	go func() { sentToOld <- toOld.send(sending) }()

	for range kills {
		time.Sleep(time.Duration(50+rand.IntN(400)) * time.Millisecond) // the moment of a kill is by chance
		s.kill("relay")
		s.start("relay")
	}
	enough()
	confirmed, confirmedToOld := <-sent, <-sentToOld
	reader.await(confirmed)
	if n, named := old.last(); n == 0 || named == 0 {
		t.Errorf("the 0.2 reader got %d of the 0.2 sender, %d of the other: want some of each", n, named)
	}
	stop()
	wg.Wait()
	reader.drain(url)
	t.Logf("%d kills: %d confirmed messages all came, %d deliveries again; 0.2: %d sent and %d confirmed, %d came, %d of these confirmed, none twice",
		kills, confirmed, reader.repeats, said, confirmedToOld, len(old.seen), old.named)
}

func soakKey(t *testing.T, n byte) identity.PrivateKey {
	t.Helper()
	key, err := identity.PrivateKeyFromSeed([]byte(strings.Repeat(string([]byte{n}), 32)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func soakLimits() relay.Limits {
	l := relay.DefaultLimits()
	l.BackoffMin, l.BackoffMax = 5*time.Millisecond, 50*time.Millisecond
	l.RefusedRetry = 100 * time.Millisecond
	return l
}

// ackReader acknowledges what it gets once it has written it down.
type ackReader struct {
	t      *testing.T
	who    identity.AMID
	client *relay.Client

	mu      sync.Mutex
	changed *sync.Cond
	texts   map[string]string // by id
	next    int               // the number that comes next
	got     int
	repeats int
	states  []relay.State
}

func newAckReader(t *testing.T, url string, n byte) *ackReader {
	t.Helper()
	r := &ackReader{t: t, who: soakKey(t, n).AMID(), texts: map[string]string{}}
	r.changed = sync.NewCond(&r.mu)
	c, err := relay.NewClient(relay.ClientConfig{URL: url, Key: soakKey(t, n), Limits: soakLimits(),
		Deliver: r.deliver, OnState: r.state})
	if err != nil {
		t.Fatal(err)
	}
	r.client = c
	return r
}

func (r *ackReader) deliver(d relay.Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := string(d.Payload)
	if before, again := r.texts[d.ID]; again {
		r.repeats++
		if before != text {
			r.t.Errorf("id %s names %q and %q", d.ID, before, text)
		}
	} else if number, ok := strings.CutPrefix(text, relay.Magic); ok {
		if number != strconv.Itoa(r.next) {
			r.t.Errorf("message %d expected, %s came", r.next, number)
		}
		r.next++
	}
	r.got++
	r.texts[d.ID] = text
	r.client.Ack(d.ID)
	r.changed.Broadcast()
}

func (r *ackReader) state(s relay.State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states = append(r.states, s)
	r.changed.Broadcast()
}

// await waits until n messages of the other client with "ack" are here.
func (r *ackReader) await(n int) {
	r.t.Helper()
	late := false
	timer := time.AfterFunc(time.Minute, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		late = true
		r.changed.Broadcast()
	})
	defer timer.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.next < n && !late {
		r.changed.Wait()
	}
	if r.next < n {
		r.t.Errorf("%d of %d confirmed messages came", r.next, n)
	}
}

// drain connects again until the mailbox is empty: what still comes was not
// acknowledged in time, or is from the 0.2 client.
func (r *ackReader) drain(url string) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		again := newAckReader(r.t, url, 2)
		again.texts, again.next = r.texts, r.next
		ctx, stop := context.WithCancel(r.t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = again.client.Run(ctx)
		}()
		left := again.settled()
		stop()
		<-done
		r.repeats += again.repeats
		if left == 0 {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%d messages stay in the mailbox", left)
		}
	}
}

// settled waits until the client is connected and has what waited for it, and says
// how much that was.
func (r *ackReader) settled() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		for _, s := range r.states {
			if s.Connected && r.got >= s.Pending {
				return s.Pending
			}
		}
		r.changed.Wait()
	}
}

// ackSender sends numbers in their order, each again until the relay has it.
type ackSender struct {
	client *relay.Client
	to     identity.AMID
}

func newAckSender(t *testing.T, url string, n byte, to identity.AMID) *ackSender {
	t.Helper()
	c, err := relay.NewClient(relay.ClientConfig{URL: url, Key: soakKey(t, n), Limits: soakLimits(), Deliver: func(relay.Delivery) {}})
	if err != nil {
		t.Fatal(err)
	}
	return &ackSender{client: c, to: to}
}

// send goes on until ctx ends, and then until what it has begun is confirmed. It
// returns how many were.
func (a *ackSender) send(ctx context.Context) int {
	const window = 32
	next := 0
	for ctx.Err() == nil {
		for end := next + window; next < end; {
			session := a.client.Session()
			if session == "" {
				time.Sleep(time.Millisecond) // another process's return: there is no event to await
				continue
			}
			results := make([]chan relay.Result, end-next)
			for i := range results {
				results[i] = make(chan relay.Result, 1)
				a.client.Send(relay.Outgoing{
					To: a.to, Kind: relay.KindMessage, Session: session, Payload: []byte(relay.Magic + strconv.Itoa(next+i)),
				}, func(r relay.Result) { results[i] <- r })
			}
			failed := false
			for _, result := range results {
				if r := <-result; r.Err != nil || r.Unconfirmed {
					failed = true
				} else if !failed {
					next++
				}
			}
		}
	}
	return next
}

// oldClient speaks 0.2 and nothing more. It comes back whenever its connection ends.
type oldClient struct {
	t   *testing.T
	url string
	key identity.PrivateKey

	mu    sync.Mutex
	seen  map[string]bool
	high  int // of the 0.2 sender
	named int // how many of the sender with "ack"
}

// run connects again and again until ctx ends; talk is what it says each time.
func (o *oldClient) run(ctx context.Context, talk func(*websocket.Conn)) {
	for ctx.Err() == nil {
		ws, _, err := websocket.Dial(ctx, o.url, nil)
		if err == nil {
			err = o.hello(ctx, ws)
		}
		if err == nil {
			if talk != nil {
				talk(ws)
			}
			o.read(ctx, ws)
		}
		if ws != nil {
			_ = ws.CloseNow()
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (o *oldClient) hello(ctx context.Context, ws *websocket.Conn) error {
	stamp := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	frame, err := json.Marshal(map[string]any{
		"type": "connect", "protocol": "agentmesh/0.2", "amid": o.key.AMID().String(), "public_key": o.key.Public().Text(),
		"signature": base64.StdEncoding.EncodeToString(o.key.SignTimestamp(stamp)), "timestamp": stamp, "p2p_capable": false,
	})
	if err != nil {
		return err
	}
	return ws.Write(ctx, websocket.MessageText, frame)
}

func oldSend(ctx context.Context, ws *websocket.Conn, to identity.AMID, text string) bool {
	frame := fmt.Sprintf(`{"type":"send","to":%q,"encrypted_payload":%q,"message_type":"message"}`, to, text)
	return ws.Write(ctx, websocket.MessageText, []byte(frame)) == nil
}

// read looks at every frame, and hangs up in the middle of things now and then.
func (o *oldClient) read(ctx context.Context, ws *websocket.Conn) {
	for o.seen == nil || rand.IntN(30) != 0 {
		_, data, err := ws.Read(ctx)
		if err != nil {
			return
		}
		var f struct {
			Type    string `json:"type"`
			Payload string `json:"encrypted_payload"`
		}
		if json.Unmarshal(data, &f) != nil || f.Type != "receive" || o.seen == nil {
			continue
		}
		o.got(f.Payload)
	}
}

// got: the 0.2 sender's come in their order. Of the other, one that was refused comes
// after those behind it.
func (o *oldClient) got(payload string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen[payload] {
		o.t.Errorf("%q came twice", payload)
	}
	o.seen[payload] = true
	if envelope, err := base64.StdEncoding.DecodeString(payload); err == nil && strings.HasPrefix(string(envelope), relay.Magic) {
		o.named++
		return
	}
	n, err := strconv.Atoi(payload)
	if err != nil || n < o.high {
		o.t.Errorf("%q came late, after %d", payload, o.high)
	}
	o.high = n
}

// last is the last number of the 0.2 sender, and how many of the other came.
func (o *oldClient) last() (high, named int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.high, o.named
}

package relay

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"amesh/internal/store"

	"github.com/coder/websocket"
)

// The scripts in testdata/agentmesh-0.2 are conversations with clients of 0.2, byte
// for byte: what the published SDKs send, with fixed keys on a fixed day, and
// every frame that the relay says. A line is one of
//
//	open NAME                 a new WebSocket, not yet connected as an agent
//	NAME > FRAME              the client sends a text message
//	N NAME > FRAME            the same N times
//	NAME < FRAME              the relay's next message to this client
//	N NAME < FRAME            its next N messages
//	NAME < closed CODE        its close
//	NAME close                the client closes, and is no longer listened to
//	NAME cut                  its socket is gone, likewise
//	wait DURATION             time passes
//	restart                   the relay stops and another starts on its data
//
// What a relay says and a script does not expect is an error.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/agentmesh-0.2/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playScript(t, file) })
		})
	}
}

// scriptDay is the moment at which every script begins.
var scriptDay = time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)

// stage is a relay and its clients in fake time.
type stage struct {
	t       *testing.T
	network *pipes
	web     *http.Server
	server  atomic.Pointer[Server]
	disk    *store.Memory
	limits  Limits
	stamps  int
	stop    func()
	clients map[string]*actor // by their names in a script
	opened  []*websocket.Conn
}

func newStage(t *testing.T, l Limits) *stage {
	time.Sleep(time.Until(scriptDay))
	s := &stage{t: t, network: newPipes(), disk: newMemory(), limits: l, clients: map[string]*actor{}}
	s.web = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.server.Load().ServeHTTP(w, r)
	})}
	go func() { _ = s.web.Serve(s.network) }()
	s.start()
	return s
}

func (s *stage) start() {
	s.t.Helper()
	server, err := NewServer(ServerConfig{Mailbox: testBox(s.t, s.disk, s.limits), Limits: s.limits})
	if err != nil {
		s.t.Fatal(err)
	}
	s.server.Store(server)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("server stopped with %v", err)
		}
	}
}

// restart stops the relay and starts another on what was durable.
func (s *stage) restart() {
	s.t.Helper()
	s.stop()
	s.disk = s.disk.Reopen()
	s.start()
}

func (s *stage) close() {
	for _, ws := range s.opened {
		_ = ws.CloseNow()
	}
	s.stop()
	_ = s.web.Close()
	synctest.Wait()
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// actor is a client that knows only WebSockets. It writes down what it hears.
type actor struct {
	ws    *websocket.Conn
	heard chan string
	last  int // the highest message so far, for tests that number them
}

// open connects a client that is not an agent yet.
func (s *stage) open() *actor {
	s.t.Helper()
	a := s.tryOpen(s.network.dial)
	if a == nil {
		s.t.Fatal("no connection")
	}
	return a
}

// tryOpen is nil when a connection as dial makes it does not carry the upgrade.
func (s *stage) tryOpen(dial dialer) *actor {
	a := s.openDeaf(dial)
	if a != nil {
		a.listen()
	}
	return a
}

// openDeaf is tryOpen for a client that does not read yet.
func (s *stage) openDeaf(dial dialer) *actor {
	ws, _, err := websocket.Dial(context.Background(), "ws://relay/any/path", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
	})
	if err != nil {
		return nil
	}
	ws.SetReadLimit(1 << 20)
	s.opened = append(s.opened, ws)
	return &actor{ws: ws, heard: make(chan string, 10_000)}
}

// listen writes down what comes until the connection ends.
func (a *actor) listen() {
	go func() {
		for {
			_, data, err := a.ws.Read(context.Background())
			if err != nil {
				a.heard <- "closed " + strconv.Itoa(int(websocket.CloseStatus(err)))
				return
			}
			a.heard <- string(data)
		}
	}()
}

// sessionID is the one part of a frame that is made by chance.
var sessionID = regexp.MustCompile(`"session_id":"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"`)

// next is what came next, once everything has come to rest.
func (a *actor) next() string {
	synctest.Wait()
	select {
	case text := <-a.heard:
		return sessionID.ReplaceAllString(text, `"session_id":"*"`)
	default:
		return ""
	}
}

func playScript(t *testing.T, file string) {
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	s := newStage(t, DefaultLimits())
	defer s.close()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		if !s.play(line) {
			t.Fatalf("%s:%d", file, n)
		}
	}
	if lines.Err() != nil || !s.silent() {
		t.Fatalf("%s: at the end; %v", file, lines.Err())
	}
}

// play performs a line and says whether it went as written.
func (s *stage) play(line string) bool {
	name, rest, _ := strings.Cut(line, " ")
	times := 1
	if n, err := strconv.Atoi(name); err == nil {
		times = n
		name, rest, _ = strings.Cut(rest, " ")
	}
	text, hears := strings.CutPrefix(rest, "< ")
	if !hears && !s.silent() {
		return false
	}
	text, sends := strings.CutPrefix(text, "> ")
	for range times {
		switch {
		case hears:
			if got := s.clients[name].next(); got != text {
				s.t.Errorf("%s hears\n%s\nand not\n%s", name, got, text)
				return false
			}
		case sends:
			if err := s.clients[name].ws.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
				s.t.Errorf("%s: %v", name, err)
				return false
			}
			synctest.Wait()
		default:
			return s.act(name, rest)
		}
	}
	return true
}

// act performs what is not talk.
func (s *stage) act(name, rest string) bool {
	switch {
	case name == "open":
		s.clients[rest] = s.open()
	case rest == "close":
		_ = s.clients[name].ws.Close(websocket.StatusNormalClosure, "")
		delete(s.clients, name)
	case rest == "cut":
		_ = s.clients[name].ws.CloseNow()
		delete(s.clients, name)
	case name == "wait":
		d, err := time.ParseDuration(rest)
		if err != nil {
			s.t.Error(err)
			return false
		}
		time.Sleep(d)
	case name == "restart":
		s.restart()
	default:
		s.t.Errorf("no such line: %s %s", name, rest)
		return false
	}
	synctest.Wait()
	return true
}

// silent says whether every client has heard what it was expected to and no more.
func (s *stage) silent() bool {
	quiet := true
	for name, a := range s.clients {
		if got := a.next(); got != "" {
			s.t.Errorf("%s hears, unexpected,\n%s", name, got)
			quiet = false
		}
	}
	return quiet
}

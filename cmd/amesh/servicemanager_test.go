package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// managed starts the program as a service manager would, with sockets of ours and
// another process's environment.
type managed struct {
	t      *testing.T
	data   string
	notify *net.UnixConn
	files  []*os.File
	env    []string
	cmd    *exec.Cmd
}

func newManaged(t *testing.T, files ...*os.File) *managed {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has systemd")
	}
	data := short(t)
	socket := filepath.Join(data, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(2 * patient)); err != nil {
		t.Fatal(err)
	}
	return &managed{t: t, data: data, notify: conn, files: files}
}

// start runs the relay, with more arguments; LISTEN_PID has to be its own, which only a shell can know
// before it is there.
func (m *managed) start(args ...string) {
	m.t.Helper()
	m.cmd = exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh",
		"amesh", "relay", "--libp2p", "/ip4/127.0.0.1/tcp/0", "--data", filepath.Join(m.data, "relay")}, args...)...)
	m.cmd.Env = append(append(os.Environ(), m.env...), "HOME="+m.data, fmt.Sprintf("LISTEN_FDS=%d", len(m.files)),
		"NOTIFY_SOCKET="+filepath.Join(m.data, "notify"), "WATCHDOG_USEC=20000", raceOptions+"="+quickExit)
	m.cmd.ExtraFiles = m.files
	m.cmd.Stderr = os.Stderr
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = m.cmd.Process.Kill() })
	m.hear("READY=1")
}

// hear reads what the program tells until it is what is wanted.
func (m *managed) hear(want string) {
	m.t.Helper()
	b := make([]byte, 100)
	for {
		n, err := m.notify.Read(b)
		if err != nil {
			m.t.Fatalf("waiting for %s: %v", want, err)
		}
		if string(b[:n]) == want {
			return
		}
	}
}

// end sends SIGTERM and waits.
func (m *managed) end() {
	m.t.Helper()
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		m.t.Fatal(err)
	}
	m.hear("STOPPING=1")
	if err := m.cmd.Wait(); err != nil {
		m.t.Errorf("the relay ended with %v", err)
	}
}

// A restart under a service manager that holds the sockets refuses nobody: who
// connects in between is served by the next process. Mail that was waiting is there.
func TestNobodyIsRefusedDuringARestart(t *testing.T) {
	tcp, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	door, err := tcp.File()
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	stun, err := udp.File()
	if err != nil {
		t.Fatal(err)
	}
	defer stun.Close()

	m := newManaged(t, door, stun)
	m.start()
	m.hear("WATCHDOG=1")
	url := "ws://" + tcp.Addr().String()
	dial := func(over net.Conn) *websocket.Conn {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patient)
		defer cancel()
		client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if over != nil {
				return over, nil
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}}}
		ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ws.CloseNow() })
		return ws
	}
	ann := dial(nil)
	sayHello(t, ann, 1)
	to := testKey(t, 2).AMID()
	frame := fmt.Sprintf(`{"type":"send","to":%q,"encrypted_payload":"kept","message_type":"message"}`, to)
	if err := ann.Write(t.Context(), websocket.MessageText, []byte(frame)); err != nil {
		t.Fatal(err)
	}
	if err := ann.Write(t.Context(), websocket.MessageText, []byte(`{"type":"ping","timestamp":"2026-11-20T09:22:46Z"}`)); err != nil {
		t.Fatal(err)
	}
	if _, text, err := ann.Read(t.Context()); err != nil || !strings.Contains(string(text), "pong") {
		t.Fatalf("%s, %v", text, err)
	}
	m.end()
	if _, _, err := ann.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the connection ended with %v", err)
	}

	between, err := net.Dial("tcp4", tcp.Addr().String())
	if err != nil {
		t.Fatalf("refused between two processes: %v", err)
	}
	m.start()
	bob := dial(between)
	if who := sayHello(t, bob, 2); who != to {
		t.Fatalf("%s connected", who)
	}
	if _, text, err := bob.Read(t.Context()); err != nil || !strings.Contains(string(text), "kept") {
		t.Errorf("after the restart: %s, %v", text, err)
	}
	c, err := net.Dial("udp4", udp.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	askSTUN(t, c)
	m.end()
}

func TestSocketsOfAnotherProcessAreNotOurs(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"none": {}, "another's": {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, "no number": {"LISTEN_PID": "x", "LISTEN_FDS": "1"},
	} {
		door, udp, err := inheritedSockets(func(k string) string { return env[k] })
		if door != nil || udp != nil || err != nil {
			t.Errorf("%s: %v, %v, %v", name, door, udp, err)
		}
	}
	env := map[string]string{"LISTEN_PID": fmt.Sprint(os.Getpid()), "LISTEN_FDS": "many"}
	if _, _, err := inheritedSockets(func(k string) string { return env[k] }); explain(err).exit != exitUsage {
		t.Errorf("many: %v", err)
	}
}

func TestWithoutAManagerNothingIsTold(t *testing.T) {
	m := managerOf(func(string) string { return "" })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.run(ctx, func() { t.Error("asked for a sign of life") }); err != nil {
		t.Error(err)
	}
	m = managerOf(func(k string) string { return map[string]string{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}[k] })
	if m.watchdog != 0 {
		t.Errorf("another process's watchdog: %s", m.watchdog)
	}
}

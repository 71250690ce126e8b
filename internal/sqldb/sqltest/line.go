package sqltest

import (
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Line is a way to a PostgreSQL database that can be cut and held.
type Line struct {
	t      *testing.T
	socket string // of the server
	name   string // of the database
	addr   string

	mu    sync.Mutex
	door  net.Listener // nil while cut
	open  map[net.Conn]bool
	flows chan struct{} // closed while bytes flow
	wg    sync.WaitGroup
}

// NewLine makes a line to a database of NewPostgres. It is up.
func NewLine(t *testing.T, url string) *Line {
	t.Helper()
	name, dir, ok := strings.Cut(strings.TrimPrefix(url, "postgres://postgres@/"), "?host=")
	if !ok {
		t.Fatalf("%s is not a URL of NewPostgres", url)
	}
	l := &Line{t: t, socket: filepath.Join(dir, ".s.PGSQL.5432"), name: name, open: map[net.Conn]bool{}, flows: make(chan struct{})}
	close(l.flows)
	l.listen("127.0.0.1:0")
	t.Cleanup(func() {
		l.Release()
		l.Cut()
		l.wg.Wait()
	})
	return l
}

// URL is the database at the end of the line.
func (l *Line) URL() string {
	return "postgres://postgres@" + l.addr + "/" + l.name + "?sslmode=disable"
}

// Cut ends all connections; new ones are refused.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.door == nil {
		return
	}
	_ = l.door.Close()
	l.door = nil
	for c := range l.open {
		_ = c.Close()
	}
}

// Mend lets connections in again.
func (l *Line) Mend() {
	l.t.Helper()
	l.listen(l.addr)
}

// Hold lets nothing more through, in either direction, until Release.
func (l *Line) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flows = make(chan struct{})
}

// Release ends a Hold.
func (l *Line) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.flows:
	default:
		close(l.flows)
	}
}

func (l *Line) listen(addr string) {
	l.t.Helper()
	door, err := net.Listen("tcp", addr)
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.door, l.addr = door, door.Addr().String()
	l.wg.Go(func() {
		for {
			c, err := door.Accept()
			if err != nil {
				return
			}
			l.wg.Go(func() { l.carry(c) })
		}
	})
}

// carry passes on what one connection says, until either end is gone.
func (l *Line) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", l.socket)
	if err != nil {
		return
	}
	defer server.Close()
	l.mu.Lock()
	if l.door == nil {
		l.mu.Unlock()
		return
	}
	l.open[client], l.open[server] = true, true
	l.mu.Unlock()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		wg.Go(func() {
			_, _ = io.Copy(way[1], held{way[0], l})
			_ = way[0].Close()
			_ = way[1].Close()
		})
	}
	wg.Wait()
	l.mu.Lock()
	delete(l.open, client)
	delete(l.open, server)
	l.mu.Unlock()
}

// held reads what may flow.
type held struct {
	io.Reader
	l *Line
}

func (h held) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	h.l.mu.Lock()
	flows := h.l.flows
	h.l.mu.Unlock()
	<-flows
	return n, err
}

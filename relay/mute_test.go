package relay

import (
	"context"
	"maps"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// mute is a relay that admits and then says nothing by itself.
type mute struct {
	t      *testing.T
	web    *http.Server
	addr   string
	header http.Header // of its answer to an upgrade
	mark   string      // told in connected
	frames chan string
	conns  chan *websocket.Conn
	cuts   chan struct{}
}

func newMute(t *testing.T, extensions []Extension) *mute {
	t.Helper()
	m := &mute{t: t, header: http.Header{}, frames: make(chan string, 1000), conns: make(chan *websocket.Conn, 100), cuts: make(chan struct{}, 1)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.addr = ln.Addr().String()
	m.web = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		maps.Copy(w.Header(), m.header)
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		if _, _, err := ws.Read(r.Context()); err != nil {
			return
		}
		_ = ws.Write(r.Context(), websocket.MessageText, encode(connectedFrame{Type: typeConnected, SessionID: "s", Extensions: extensions, Mark: m.mark}))
		m.conns <- ws
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-m.cuts:
				_ = ws.CloseNow()
			case <-ctx.Done():
			}
		}()
		for {
			_, data, err := ws.Read(ctx)
			if err != nil {
				return
			}
			m.frames <- string(data)
		}
	})}
	go func() { _ = m.web.Serve(ln) }()
	t.Cleanup(func() { _ = m.web.Close() })
	return m
}

func (m *mute) url() string { return "ws://" + m.addr }
func (m *mute) cut()        { m.cuts <- struct{}{} }

func (m *mute) frame() string {
	m.t.Helper()
	select {
	case f := <-m.frames:
		return f
	case <-time.After(patience):
		m.t.Fatal("no frame")
		return ""
	}
}

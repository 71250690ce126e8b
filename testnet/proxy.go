package testnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// proxy stands between the nodes and the relay and records what passes. It knows
// nothing of what it carries. A connection lives as long as both of its ends; the
// listener outlives the relay, so that nodes find it where it was after a restart.
//
// newProxy is quiet; Run serves until its context ends. The methods may be called
// from any goroutine, before, during and after Run.
type proxy struct {
	door   net.Listener
	target string // host:port of the relay
	limits limits

	mu       sync.Mutex
	carried  int64
	overflow bool
	conns    []*carriedConn
}

// carriedConn is what passed on one connection. The slices only grow.
type carriedConn struct {
	up   []byte // from the node to the relay
	down []byte // from the relay to the node
}

// errRecordingFull ends a connection whose bytes could not be recorded any more.
var errRecordingFull = errors.New("recording is full")

// newProxy makes a proxy that takes over the listener.
func newProxy(door net.Listener, target string, l limits) *proxy {
	return &proxy{door: door, target: target, limits: l}
}

// addr is where nodes connect.
func (p *proxy) addr() string { return p.door.Addr().String() }

// Run carries connections until ctx ends, then closes the listener and all
// connections, and returns when the last goroutine is home.
func (p *proxy) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { p.door.Close() })
	defer stop()
	for {
		conn, err := p.door.Accept()
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("proxy: %w", err)
		}
		wg.Go(func() { p.carry(ctx, conn) })
	}
}

// carry joins one client with the relay. What goes wrong on either side is the
// clients' daily life, above all a relay that is down: they see a closed
// connection and try again.
func (p *proxy) carry(ctx context.Context, client net.Conn) {
	defer client.Close()
	dialer := net.Dialer{Timeout: p.limits.DialRelay}
	relay, err := dialer.DialContext(ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer relay.Close()
	rec := p.record()
	both := func() { client.Close(); relay.Close() }
	stop := context.AfterFunc(ctx, both)
	defer stop()

	var wg sync.WaitGroup
	wg.Go(func() { defer both(); p.pump(relay, client, &rec.up) })
	wg.Go(func() { defer both(); p.pump(client, relay, &rec.down) })
	wg.Wait()
}

func (p *proxy) record() *carriedConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	rec := new(carriedConn)
	p.conns = append(p.conns, rec)
	return rec
}

// pump copies until either side ends. Bytes are recorded before they are passed
// on: what the other side may have seen has been recorded.
func (p *proxy) pump(to io.Writer, from io.Reader, rec *[]byte) {
	buf := make([]byte, p.limits.ChunkBytes)
	for {
		n, err := from.Read(buf)
		if keepErr := p.keep(rec, buf[:n]); keepErr != nil {
			return
		}
		if _, writeErr := to.Write(buf[:n]); writeErr != nil || err != nil {
			return
		}
	}
}

func (p *proxy) keep(rec *[]byte, b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.carried+int64(len(b)) > p.limits.Recording {
		p.overflow = true
		return errRecordingFull
	}
	p.carried += int64(len(b))
	*rec = append(*rec, b...)
	return nil
}

// recording is what has passed so far. It is an error when something was turned
// away because there was no more room for it. The caller must not change the bytes.
func (p *proxy) recording() ([]carriedConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.overflow {
		return nil, fmt.Errorf("proxy: %w after %d bytes", errRecordingFull, p.carried)
	}
	all := make([]carriedConn, len(p.conns))
	for i, c := range p.conns {
		// Growing never writes into what was handed out.
		all[i] = carriedConn{up: c.up[:len(c.up):len(c.up)], down: c.down[:len(c.down):len(c.down)]}
	}
	return all, nil
}

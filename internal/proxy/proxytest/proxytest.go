// Package proxytest has proxies for tests: small real ones, of HTTP and of SOCKS5, that
// listen on loopback. Connections to loopback never go through a proxy, so tests dial
// names, and the proxies know where these lead.
package proxytest

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
)

// Proxy is a proxy that runs until its test ends.
type Proxy struct {
	// Addr is where it listens.
	Addr string

	t  testing.TB
	wg sync.WaitGroup

	mu     sync.Mutex
	names  map[string]string // where HOST:PORT leads; what is not named is refused
	secret string            // USER:PASSWORD; empty: everybody may
	asked  []string
	open   map[net.Conn]struct{}
}

// HTTP is a proxy that knows CONNECT. names are where it lets clients go to.
func HTTP(t testing.TB, names map[string]string) *Proxy { return start(t, names, (*Proxy).serveHTTP) }

// SOCKS is a SOCKS5 proxy.
func SOCKS(t testing.TB, names map[string]string) *Proxy { return start(t, names, (*Proxy).serveSOCKS) }

func start(t testing.TB, names map[string]string, serve func(*Proxy, net.Conn)) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), t: t, names: names, open: map[net.Conn]struct{}{}}
	p.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.keep(conn, serve) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.Cut()
		p.wg.Wait()
	})
	return p
}

func (p *Proxy) keep(conn net.Conn, serve func(*Proxy, net.Conn)) {
	p.mu.Lock()
	p.open[conn] = struct{}{}
	p.mu.Unlock()
	serve(p, conn)
	p.mu.Lock()
	delete(p.open, conn)
	p.mu.Unlock()
	_ = conn.Close()
}

// Cut ends the connections that are open.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.open {
		_ = conn.Close()
	}
}

// Require has the proxy want USER:PASSWORD from now on.
func (p *Proxy) Require(secret string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secret = secret
}

// Asked is every target that a client asked for, with the answer: "relay.test:443 200".
func (p *Proxy) Asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...)
}

// judge answers a client: a status of HTTP, and where it is led.
func (p *Proxy) judge(target, secret string) (status int, to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	to, known := p.names[target]
	switch {
	case p.secret != "" && secret != p.secret:
		status = http.StatusProxyAuthRequired
	case !known:
		status = http.StatusForbidden
	default:
		status = http.StatusOK
	}
	p.asked = append(p.asked, target+" "+strconv.Itoa(status))
	return status, to
}

func (p *Proxy) serveHTTP(conn net.Conn) {
	in := bufio.NewReader(conn)
	if b, err := in.Peek(1); err != nil || b[0] != http.MethodConnect[0] {
		return
	}
	r, err := http.ReadRequest(in)
	if err != nil || r.Method != http.MethodConnect {
		_, _ = io.WriteString(conn, "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
		return
	}
	var secret string
	if h := r.Header.Get("Proxy-Authorization"); len(h) > 6 {
		b, _ := base64.StdEncoding.DecodeString(h[len("Basic "):])
		secret = string(b)
	}
	status, to := p.judge(r.Host, secret)
	if status != http.StatusOK {
		_, _ = io.WriteString(conn, "HTTP/1.1 "+strconv.Itoa(status)+" No\r\nProxy-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\r\n")
		return
	}
	p.pass(conn, in, to, func() { _, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n") })
}

// pass connects both ends until one of them ends.
func (p *Proxy) pass(conn net.Conn, in io.Reader, to string, yes func()) {
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	yes()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(far, in)
		_ = far.Close()
	})
	_, _ = io.Copy(conn, far)
	_ = conn.Close()
	_ = far.Close()
	wg.Wait()
}

// serveSOCKS is RFC 1928 and RFC 1929, as little of them as clients need.
func (p *Proxy) serveSOCKS(conn net.Conn) {
	in := bufio.NewReader(conn)
	if b, err := in.Peek(1); err != nil || b[0] != 5 {
		return
	}
	secret, err := p.greetSOCKS(conn, in)
	if err != nil {
		return
	}
	var head [4]byte // version, command, reserved, kind of address
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return
	}
	host, err := socksHost(in, head[3])
	if err != nil {
		return
	}
	var port [2]byte
	if _, err := io.ReadFull(in, port[:]); err != nil {
		return
	}
	target := net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(port[:]))))
	status, to := p.judge(target, secret)
	answer := []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	if status != http.StatusOK {
		answer[1] = 2 // not allowed by ruleset
		_, _ = conn.Write(answer)
		return
	}
	p.pass(conn, in, to, func() { _, _ = conn.Write(answer) })
}

func (p *Proxy) greetSOCKS(conn net.Conn, in *bufio.Reader) (secret string, err error) {
	methods, err := lengthPrefixed(in, 1)
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	want := p.secret
	p.mu.Unlock()
	if want == "" {
		_, err = conn.Write([]byte{5, 0})
		return "", err
	}
	if len(methods) < 2 { // only "nobody in particular"
		_, _ = conn.Write([]byte{5, 0xFF})
		return "", errors.New("no user")
	}
	if _, err = conn.Write([]byte{5, 2}); err != nil {
		return "", err
	}
	user, err := lengthPrefixed(in, 1)
	if err != nil {
		return "", err
	}
	password, err := lengthPrefixed(in, 0)
	if err != nil {
		return "", err
	}
	if secret = string(user) + ":" + string(password); secret != want {
		_, _ = conn.Write([]byte{1, 1})
		return "", errors.New("wrong user")
	}
	_, err = conn.Write([]byte{1, 0})
	return secret, err
}

// lengthPrefixed reads as many bytes as the byte behind skip ones says.
func lengthPrefixed(in *bufio.Reader, skip int) ([]byte, error) {
	if _, err := in.Discard(skip); err != nil {
		return nil, err
	}
	n, err := in.ReadByte()
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(in, b)
	return b, err
}

func socksHost(in *bufio.Reader, kind byte) (string, error) {
	switch kind {
	case 1, 4:
		b := make([]byte, net.IPv4len)
		if kind == 4 {
			b = make([]byte, net.IPv6len)
		}
		_, err := io.ReadFull(in, b)
		return net.IP(b).String(), err
	case 3:
		b, err := lengthPrefixed(in, 0)
		return string(b), err
	}
	return "", errors.New("kind of address")
}

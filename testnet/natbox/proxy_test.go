package natbox

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

// echo answers with what it hears.
func echo(t *testing.T) (addr, port string) {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); conn.Close() }()
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return l.Addr().String(), port
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// proxied serves a proxy until the test ends, and returns its address.
func proxied(t *testing.T, login, port string) string {
	t.Helper()
	l := listen(t)
	p := newProxy(login, port, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- p.serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("proxy: %v", err)
		}
	})
	return l.Addr().String()
}

// ask sends one request and returns the connection and the answer's status.
func ask(t *testing.T, addr, request string) (net.Conn, *bufio.Reader, int) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	return conn, r, resp.StatusCode
}

// The connection is still open when the proxy is told to end: it must not wait for it.
func TestProxyCarriesAConnection(t *testing.T) {
	target, port := echo(t)
	// What the client sends right behind its request must not be lost.
	conn, r, status := ask(t, proxied(t, "", port), "CONNECT "+target+" HTTP/1.1\r\nHost: "+target+"\r\n\r\nhello")
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if _, err := io.WriteString(conn, " there"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("hello there"))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "hello there" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestProxyRefuses(t *testing.T) {
	target, port := echo(t)
	open, closed := proxied(t, "", port), proxied(t, "ann:secret", port)
	login := func(text string) string {
		return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(text)) + "\r\n"
	}
	for name, c := range map[string]struct {
		proxy, method, target, header string
		want                          int
	}{
		"right login":     {closed, "CONNECT", target, login("ann:secret"), 200},
		"wrong login":     {closed, "CONNECT", target, login("ann:secre"), 407},
		"no login":        {closed, "CONNECT", target, "", 407},
		"another scheme":  {closed, "CONNECT", target, "Proxy-Authorization: Bearer x\r\n", 407},
		"another port":    {open, "CONNECT", "127.0.0.1:1", "", 403},
		"no port":         {open, "CONNECT", "127.0.0.1", "", 403},
		"a page":          {open, "GET", "http://" + target + "/", "", 405},
		"nobody is there": {open, "CONNECT", "127.255.255.254:" + port, "", 502},
	} {
		request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", c.method, c.target, strings.TrimSuffix(strings.TrimPrefix(c.target, "http://"), "/"), c.header)
		if _, _, got := ask(t, c.proxy, request); got != c.want {
			t.Errorf("%s: status %d, want %d", name, got, c.want)
		}
	}
}

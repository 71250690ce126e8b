package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/net/proxy"
)

// open opens a connection to addr through a proxy. Credentials that are not taken are
// read again, and tried once more if they are others now.
func (p *Proxy) open(ctx context.Context, under DialFunc, u *url.URL, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, openWait, errSlow)
	defer cancel()
	secret, err := p.credentials.of(ctx, u)
	if err != nil {
		return nil, failure(u, err)
	}
	conn, err := p.through(ctx, under, u, addr, secret)
	if err == nil || !errors.Is(err, errUnauthorized) || ctx.Err() != nil {
		return conn, err
	}
	fresh, err2 := p.credentials.renew(ctx, secret)
	if err2 != nil {
		return nil, failure(u, err2)
	}
	if fresh == secret {
		return nil, err
	}
	return p.through(ctx, under, u, addr, fresh)
}

// through is one try.
func (p *Proxy) through(ctx context.Context, under DialFunc, u *url.URL, addr string, secret secret) (net.Conn, error) {
	conn, err := under(ctx, "tcp", u.Host)
	if err != nil {
		return nil, unreachable(ctx, u, err)
	}
	// Whatever waits for the proxy ends with the context.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	ready, err := p.ask(ctx, conn, u, addr, secret)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, failure(u, err)
	}
	return ready, nil
}

// ask has the proxy connect conn with addr.
func (p *Proxy) ask(ctx context.Context, conn net.Conn, u *url.URL, addr string, secret secret) (net.Conn, error) {
	switch u.Scheme {
	case "socks5", "socks5h":
		return socks(ctx, conn, u, addr, secret)
	case "https":
		secure := tls.Client(conn, &tls.Config{ServerName: u.Hostname(), RootCAs: p.roots, NextProtos: []string{"http/1.1"}})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("its TLS: %w", err)
		}
		conn = secure
	}
	return conn, connect(conn, addr, secret)
}

// connect is CONNECT of HTTP/1.1 (RFC 9110 §9.3.6). It is not net/http's, which sends
// requests to http:// and ws:// another way, bounds the waiting by a minute that no
// setting changes, and cannot be asked twice on one way.
func connect(conn net.Conn, addr string, secret secret) error {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if h := secret.header(); h != "" {
		req.Header.Set("Proxy-Authorization", h)
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	head := &io.LimitedReader{R: conn, N: headBytes}
	in := bufio.NewReader(head)
	resp, err := http.ReadResponse(in, req)
	switch {
	case err != nil && head.N <= 0:
		return errLong
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", errNoHTTP, err)
	case err != nil:
		return errNoHTTP // what came instead is nothing to be shown
	case resp.StatusCode/100 != 2:
		return refusal(resp, addr, secret)
	case in.Buffered() > 0:
		// The other end is not to speak first, so these are the proxy's own words.
		return fmt.Errorf("%w: more than an answer", errNoHTTP)
	}
	return nil
}

// socks is SOCKS5 (RFC 1928). The proxy resolves names, whether it is called socks5 or
// socks5h.
func socks(ctx context.Context, conn net.Conn, u *url.URL, addr string, secret secret) (net.Conn, error) {
	var auth *proxy.Auth
	if user, password, ok := secret.pair(); ok {
		auth = &proxy.Auth{User: user, Password: password}
	} else if secret != "" {
		return nil, errNoPair
	}
	d, err := proxy.SOCKS5("tcp", u.Host, auth, dialled{conn})
	if err != nil {
		return nil, err
	}
	ready, err := d.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
	if err == nil {
		return ready, nil
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // what is around it names both ends again
	}
	// The library has no error of its own for "not you".
	return nil, socksRefusal(err, secret)
}

// dialled gives away a connection that is there.
type dialled struct{ net.Conn }

func (d dialled) Dial(string, string) (net.Conn, error) { return d.Conn, nil }

func (d dialled) DialContext(context.Context, string, string) (net.Conn, error) { return d.Conn, nil }

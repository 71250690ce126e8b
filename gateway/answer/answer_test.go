package answer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"amesh/gateway/answer"
)

func TestBodyEndsAtItsLimit(t *testing.T) {
	for name, c := range map[string]struct {
		body  io.Reader
		whole bool
	}{
		"empty":        {strings.NewReader(""), true},
		"short":        {strings.NewReader("{}"), true},
		"as allowed":   {strings.NewReader(strings.Repeat("x", answer.MaxBody)), true},
		"one too many": {strings.NewReader(strings.Repeat("x", answer.MaxBody+1)), false},
		"endless":      {endless{}, false},
		"broken":       {io.MultiReader(strings.NewReader("{"), broken{}), false},
	} {
		t.Run(name, func(t *testing.T) {
			closed := &closes{Reader: c.body}
			body, whole := answer.Body(&http.Response{Body: closed})
			if whole != c.whole || !closed.closed {
				t.Errorf("whole %v, closed %v", whole, closed.closed)
			}
			if !whole && body != nil {
				t.Errorf("%d bytes of half a body", len(body))
			}
		})
	}
}

func TestCleanIsOneShortLine(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "no such agent", "no such agent"},
		{"lines", "a\r\nlevel=ERROR  b\n", "a level=ERROR b"},
		{"escapes", "\x1b[31mred\x00", "[31mred"},
		{"no UTF-8", "a\xff\xfeb", "a b"},
		{"right to left", "a\u202eb", "a b"},
		{"long", strings.Repeat("é", 200), strings.Repeat("é", answer.MaxText/2)},
	} {
		got := answer.Clean(c.in)
		if got != c.want || !utf8.ValidString(got) || len(got) > answer.MaxText {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestRetryAfterInBothForms(t *testing.T) {
	now := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 120 ": 2 * time.Minute, "3600": time.Hour, "999999": time.Hour,
		"99999999999999999999999": time.Hour, "-5": 0, "1.5": 0, "soon": 0,
		"Fri, 20 Nov 2026 09:00:30 GMT":  30 * time.Second,
		"Friday, 20-Nov-26 09:01:00 GMT": time.Minute,
		"Fri, 20 Nov 2026 08:00:00 GMT":  0,
		"Fri, 20 Nov 2099 08:00:00 GMT":  time.Hour,
	} {
		if got := answer.RetryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestReasonsNameNothingOfOurs(t *testing.T) {
	dial := func(err error) error {
		return fmt.Errorf("Post: %w", &net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7)}, Err: err})
	}
	for want, err := range map[string]error{
		"connection refused":                      dial(syscall.ECONNREFUSED),
		"the network does not reach the server":   dial(syscall.EHOSTUNREACH),
		"the connection broke":                    dial(syscall.ECONNRESET),
		"no answer in time":                       dial(context.DeadlineExceeded),
		"interrupted":                             dial(context.Canceled),
		"the name of the server was not resolved": dial(&net.DNSError{Name: "x", IsTimeout: true}),
		"the server's certificate is not valid":   dial(&tls.CertificateVerificationError{Err: errors.New("expired")}),
		"TLS was not agreed":                      handshake(t),
		"the connection failed":                   dial(errors.New("odd")),
	} {
		if got := answer.Reason(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// handshake is the error of a client that wants a version of TLS which the server has not.
func handshake(t *testing.T) error {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS13}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	client := srv.Client()
	client.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	_, err := client.Get(srv.URL)
	if err == nil {
		t.Fatal("no error")
	}
	return err
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type closes struct {
	io.Reader
	closed bool
}

func (c *closes) Close() error { c.closed = true; return nil }

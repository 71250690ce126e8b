package answer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

// Body reads an answer's body and closes it. It reports whether the body is whole: not
// longer than MaxBody, and read to its end. What is not whole must not be believed.
func Body(resp *http.Response) (body []byte, whole bool) {
	defer func() { _ = resp.Body.Close() }() // read or given up
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody+1))
	if err != nil || len(body) > MaxBody {
		return nil, false
	}
	return body, true
}

// Clean makes a text of a stranger one that can be stored, logged and shown: one line
// of printable UTF-8 of at most MaxText bytes.
func Clean(text string) string {
	var b strings.Builder
	space := true // none in front
	for _, r := range text {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = ' '
		}
		if r == ' ' && space {
			continue
		}
		if b.Len()+utf8.RuneLen(r) > MaxText {
			break
		}
		space = r == ' '
		b.WriteRune(r)
	}
	return strings.TrimRight(b.String(), " ")
}

// RetryAfter reads that header, in both of its forms: seconds, or a date. It is zero
// where there is none or it makes no sense, and never more than MaxWait.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(MaxWait/time.Second) { // no number is longer than that one
			return MaxWait
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxWait)
}

// Reason says in a few words why no answer came. It names no address and nothing else
// of our side, because senders read it.
func Reason(err error) string {
	var (
		noName  *net.DNSError
		cert    *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		record  tls.RecordHeaderError
		op      *net.OpError
		timeout net.Error
	)
	switch {
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.As(err, &noName):
		return "the name of the server was not resolved"
	case errors.As(err, &cert), errors.As(err, &unknown):
		return "the server's certificate is not valid"
	case errors.As(err, &record), errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"): // crypto/tls's alerts
		return "TLS was not agreed"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "the network does not reach the server"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection broke"
	}
	return "the connection failed"
}

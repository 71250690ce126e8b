package proxy

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	// secretBytes is the longest secret, and the most that is read for one.
	secretBytes = 4 << 10
	// commandWait is the time for a command to give the secret.
	commandWait = 5 * time.Second
)

// secret is USER:PASSWORD or the whole value of a Proxy-Authorization header; empty is
// none.
type secret string

// String keeps secrets out of logs.
func (s secret) String() string { return "(hidden)" }

// GoString keeps them out of %#v, too.
func (s secret) GoString() string { return "(hidden)" }

// pair is user and password; not ok for a whole header value.
func (s secret) pair() (user, password string, ok bool) {
	user, password, ok = strings.Cut(string(s), ":")
	// A scheme and what is behind it: Bearer abc:def.
	return user, password, ok && !strings.Contains(user, " ")
}

// header is the value of Proxy-Authorization.
func (s secret) header() string {
	if _, _, ok := s.pair(); ok {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(s))
	}
	return string(s)
}

// source is where a secret is read.
type source struct{ kind, value string }

// parseSource checks "file:PATH" and "command:TEXT"; empty is no source.
func parseSource(text string) (source, error) {
	if text == "" {
		return source{}, nil
	}
	kind, value, _ := strings.Cut(text, ":")
	if kind != "file" && kind != "command" || value == "" {
		// The text is not repeated: it may be the password itself.
		return source{}, errors.New("proxy credentials: want file:PATH or command:TEXT")
	}
	return source{kind, value}, nil
}

// sourceError is a source that gives no secret.
type sourceError struct {
	err  error
	next string
}

func (e *sourceError) Error() string { return "credentials: " + e.err.Error() }

func (e *sourceError) Unwrap() error { return e.err }

// read reads the secret. An error never has any of it.
func (s source) read(ctx context.Context) (secret, error) {
	var b []byte
	var err error
	next := "mend what proxy_credentials names: want USER:PASSWORD, or the value of a Proxy-Authorization header, on one line"
	if s.kind == "file" {
		b, err = readFile(s.value)
	} else {
		b, err = run(ctx, s.value)
	}
	if err != nil {
		return "", &sourceError{err, next}
	}
	text := strings.TrimRight(string(b), "\r\n")
	switch {
	case text == "":
		err = errors.New("there is nothing")
	case len(text) > secretBytes:
		err = fmt.Errorf("more than %d bytes", secretBytes)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7F }):
		err = errors.New("more than one line, or a control character")
	case !strings.ContainsAny(text, ": "):
		err = errors.New("neither USER:PASSWORD nor a header value")
	default:
		return secret(text), nil
	}
	return "", &sourceError{err, next}
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, secretBytes+2))
}

func run(ctx context.Context, text string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", text)
	cmd.WaitDelay = time.Second // also for who keeps the output open
	var out bounded
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("the command gives nothing within %v", commandWait)
		}
		return nil, fmt.Errorf("the command: %w", err)
	}
	return out.kept, nil
}

// bounded keeps a little more than a secret may have, and forgets the rest.
type bounded struct{ kept []byte }

func (b *bounded) Write(p []byte) (int, error) {
	room := max(0, secretBytes+2-len(b.kept))
	b.kept = append(b.kept, p[:min(room, len(p))]...)
	return len(p), nil
}

// credentials are what proxies are shown.
type credentials struct {
	source source // the zero source: those of the proxy's URL

	mu   sync.Mutex // held while a source is read, so that it is read once for all who wait
	last secret
}

// of is the secret for a proxy: what was read last, or what its URL says.
func (c *credentials) of(ctx context.Context, u *url.URL) (secret, error) {
	if c.source == (source{}) {
		if u.User == nil {
			return "", nil
		}
		password, _ := u.User.Password()
		return secret(u.User.Username() + ":" + password), nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != "" {
		return c.last, nil
	}
	return c.readAgain(ctx)
}

// renew is the secret that may replace one that was not taken. It is the same one when
// there is no other.
func (c *credentials) renew(ctx context.Context, used secret) (secret, error) {
	if c.source == (source{}) {
		return used, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != used {
		return c.last, nil // somebody else was faster
	}
	return c.readAgain(ctx)
}

// readAgain is called with the mutex held.
func (c *credentials) readAgain(ctx context.Context) (secret, error) {
	s, err := c.source.read(ctx)
	if err == nil {
		c.last = s
	}
	return s, err
}

package longpoll

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// ErrNoRelay reports an answer that no relay gave which knows long poll.
var ErrNoRelay = errors.New("no relay that knows long poll answers")

// StatusError is a relay's no.
type StatusError struct{ Status int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("the relay answered %d %s", e.Status, http.StatusText(e.Status))
}

// Config is what a Stream needs.
type Config struct {
	HTTP *http.Client
	// URL is the relay, http:// or https://, with a path.
	URL string
	// Key is the text of the key that Sign signs with.
	Key string
	// Sign signs what Request.Signed returns.
	Sign func(body []byte) []byte
	// Bytes is the most that waits in each direction, and the longest body.
	Bytes int
	// Gap is how long the relay may be out of reach before the stream ends.
	Gap time.Duration
}

const (
	// openedBytes bounds the answer to the opening request.
	openedBytes = 4 << 10
	// maxWait bounds what a relay may have a GET wait for.
	maxWait = 2 * time.Minute
	// askWait is the time for an exchange beside what the relay has it wait for.
	askWait = 15 * time.Second
	// endWait is the time for the goodbye.
	endWait = 2 * time.Second
	// retryMin and retryMax bound the pause before a request is repeated.
	retryMin, retryMax = 100 * time.Millisecond, 2 * time.Second
)

// Stream is the client's end. Read and Write are for one goroutine each, Close is for
// anybody.
type Stream struct {
	cfg     Config
	session Token
	wait    time.Duration
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond
	in, out []byte
	err     error // why it is over
	last    [End + 1]uint64
}

// Open opens a session. The header is that of the relay's answer. It returns ErrNoRelay
// or a *StatusError when there is none, and what HTTP has for errors. ctx is for the
// opening only.
func Open(ctx context.Context, cfg Config) (*Stream, http.Header, error) {
	s := &Stream{cfg: cfg}
	s.changed.L = &s.mu
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.target(OpenQuery, 0), http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set(KeyHeader, cfg.Key)
	body, header, err := s.do(req, openedBytes)
	if err != nil {
		return nil, nil, err
	}
	var opened Opened
	if err := json.Unmarshal(body, &opened); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNoRelay, err)
	}
	if s.session, err = ParseToken(opened.Session); err != nil || opened.Bytes <= 0 || opened.Wait < 1 {
		return nil, nil, fmt.Errorf("%w: session, wait_s or bytes", ErrNoRelay)
	}
	s.cfg.Bytes = min(s.cfg.Bytes, opened.Bytes)
	s.wait = min(time.Duration(min(opened.Wait, int(maxWait/time.Second)))*time.Second, maxWait)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.wg.Go(s.up)
	s.wg.Go(s.down)
	return s, header, nil
}

// Read implements io.Reader: what comes from the relay, and io.EOF when it has ended
// the session.
func (s *Stream) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.in) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		s.changed.Wait()
	}
	n := copy(b, s.in)
	if s.in = s.in[n:]; len(s.in) == 0 {
		s.in = nil
		s.changed.Broadcast()
	}
	return n, nil
}

// Write implements io.Writer. It returns when the bytes are on their way, or wait for it
// with room left.
func (s *Stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := 0; ; {
		switch room := s.cfg.Bytes - len(s.out); {
		case s.err != nil:
			return n, s.err
		case n == len(b):
			return n, nil
		case room > 0:
			more := min(room, len(b)-n)
			s.out = append(s.out, b[n:n+more]...)
			n += more
			s.changed.Broadcast()
		default:
			s.changed.Wait()
		}
	}
}

// Close ends the stream, and tells the relay so beside. What was written and is not yet
// with the relay is dropped.
func (s *Stream) Close() error {
	s.fail(io.ErrClosedPipe, true)
	return nil
}

// Wait returns when nothing of the stream is at work any more, after Close or its end.
func (s *Stream) Wait() { s.wg.Wait() }

// fail ends the stream for the first reason that comes.
func (s *Stream) fail(err error, tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	s.changed.Broadcast()
	s.cancel()
	if tell {
		s.wg.Go(s.goodbye)
	}
}

func (s *Stream) goodbye() {
	ctx, cancel := context.WithTimeout(context.Background(), endWait)
	defer cancel()
	// The relay notices by itself if this does not reach it.
	_, _, _ = s.once(ctx, End, 0, nil)
}

// up posts what was written.
func (s *Stream) up() {
	for at := uint64(0); ; {
		chunk := s.written()
		if chunk == nil {
			return
		}
		_, came, err := s.ask(Up, at, chunk)
		if err == nil && (came < at || came > at+uint64(len(chunk))) {
			err = fmt.Errorf("%w: it has more than was sent", ErrNoRelay)
		}
		if err != nil {
			s.fail(err, false)
			return
		}
		s.mu.Lock()
		s.out = s.out[came-at:]
		s.changed.Broadcast()
		s.mu.Unlock()
		if came == at {
			s.pause(retryMin) // it was to wait for room
		}
		at = came
	}
}

// written waits for something to post; it is nil at the end.
func (s *Stream) written() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.out) == 0 && s.err == nil {
		s.out = nil
		s.changed.Wait()
	}
	if s.err != nil {
		return nil
	}
	return bytes.Clone(s.out)
}

// down gets what comes, no faster than it is read.
func (s *Stream) down() {
	for at := uint64(0); ; {
		asked := time.Now()
		b, _, err := s.ask(Down, at, nil)
		if err != nil {
			if no := new(StatusError); errors.As(err, &no) && no.Status == http.StatusGone {
				err = io.EOF
			}
			s.fail(err, false)
			return
		}
		at += uint64(len(b))
		if !s.came(b) {
			return
		}
		if len(b) == 0 && time.Since(asked) < retryMin {
			s.pause(retryMin) // it was to wait
		}
	}
}

// came gives bytes to the reader and waits until it has them.
func (s *Stream) came(b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in = b
	s.changed.Broadcast()
	for len(s.in) > 0 && s.err == nil {
		s.changed.Wait()
	}
	return s.err == nil
}

// ask makes an exchange, again and again while somebody in between or the network fails,
// at most for Gap. What the relay itself refuses is final.
func (s *Stream) ask(k Kind, at uint64, body []byte) (answer []byte, pos uint64, err error) {
	var since time.Time
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		wait := askWait
		if k == Down {
			wait += s.wait
		}
		ctx, cancel := context.WithTimeout(s.ctx, wait)
		answer, pos, err = s.once(ctx, k, at, body)
		cancel()
		no := new(StatusError)
		// With 409 it was not this request that was answered but its shadow: HTTP clients
		// and proxies repeat a GET by themselves.
		final := errors.As(err, &no) && no.Status != http.StatusConflict
		if err == nil || final || s.ctx.Err() != nil {
			return answer, pos, err
		}
		if since.IsZero() {
			since = time.Now()
		} else if time.Since(since) >= s.cfg.Gap {
			return nil, 0, err
		}
		s.pause(pause)
	}
}

// pause waits, or until the stream is over.
func (s *Stream) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
	}
}

// once is one request. Its number is a new one, so that the relay knows which is the
// latest.
func (s *Stream) once(ctx context.Context, k Kind, at uint64, body []byte) (answer []byte, pos uint64, err error) {
	s.mu.Lock()
	s.last[k]++
	r := Request{Session: s.session, Number: s.last[k], At: at}
	s.mu.Unlock()
	r.Signature = s.cfg.Sign(r.Signed(k, body))
	method := http.MethodPost
	if k == Down {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, s.target(k.String(), r.Number), bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	if k == Down {
		req.Body, req.ContentLength = nil, 0
	}
	req.Header.Set(Header, r.Text())
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Cache-Control", "no-store")
	answer, header, err := s.do(req, s.cfg.Bytes)
	if err != nil {
		return nil, 0, err
	}
	pos, err = ParsePosition(header.Get(Header))
	if err == nil && k == Down && pos != at {
		err = errMalformed
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%w: position", ErrNoRelay)
	}
	return answer, pos, nil
}

// do makes one exchange and reads at most as many bytes of the answer.
func (s *Stream) do(req *http.Request, most int) ([]byte, http.Header, error) {
	resp, err := s.cfg.HTTP.Do(req)
	if err != nil {
		why := new(url.Error)
		if errors.As(err, &why) {
			err = why.Err // the URL around it is known
		}
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, int64(most)+1))
	switch {
	case resp.Header.Get(Header) == "":
		return nil, nil, fmt.Errorf("%w: %d %s", ErrNoRelay, resp.StatusCode, http.StatusText(resp.StatusCode))
	case resp.StatusCode != http.StatusOK:
		return nil, nil, &StatusError{resp.StatusCode}
	case err != nil:
		return nil, nil, err
	case len(b) > most:
		return nil, nil, fmt.Errorf("%w: more than %d bytes", ErrNoRelay, most)
	}
	return b, resp.Header, nil
}

// target is the URL of a request. Its number keeps caches from having seen it.
func (s *Stream) target(kind string, number uint64) string {
	u, err := url.Parse(s.cfg.URL)
	if err != nil {
		return s.cfg.URL // and making the request says what is wrong
	}
	q := u.Query()
	q.Set(Query, kind)
	if number > 0 {
		q.Set("n", fmt.Sprint(number))
	}
	u.RawQuery = q.Encode()
	return u.String()
}

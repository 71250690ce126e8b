package longpoll

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var few = Limits{Bytes: 1000, Wait: time.Second, Idle: time.Minute, Linger: 10 * time.Second}

// inn is a relay that serves one Conn and believes every signature, and a network to it
// that loses what it likes.
type inn struct {
	t    *testing.T
	web  *httptest.Server
	conn *Conn
	gone chan struct{}
	wait int

	mu   sync.Mutex
	lose func(k Kind, answer bool) bool // a request, or its answer
}

func newInn(t *testing.T, l Limits) *inn {
	i := &inn{t: t, gone: make(chan struct{}), wait: 1}
	i.conn = NewConn(nil, nil, l, func() { close(i.gone) })
	i.web = httptest.NewServer(i)
	t.Cleanup(func() {
		_ = i.conn.Close()
		i.web.Close()
	})
	return i
}

func (i *inn) losing(k Kind, answer bool) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.lose != nil && i.lose(k, answer)
}

func (i *inn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	kind := r.URL.Query().Get(Query)
	if kind == OpenQuery {
		w.Header().Set(Header, "0")
		_ = json.NewEncoder(w).Encode(Opened{Session: Token{7}.Text(), Wait: i.wait, Bytes: 1000})
		return
	}
	k := ParseKind(kind)
	if i.losing(k, false) {
		panic(http.ErrAbortHandler)
	}
	req, err := ParseRequest(r.Header.Get(Header))
	body, err2 := io.ReadAll(r.Body)
	if err = errors.Join(err, err2); err != nil || req.Session != (Token{7}) || !bytes.Equal(req.Signature, sign(req.Signed(k, body))) {
		i.t.Errorf("a request of another form: %v", err)
	}
	status, pos, answer := i.serve(r.Context(), k, req, body)
	if i.losing(k, true) {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set(Header, "-")
	if status == http.StatusOK {
		w.Header().Set(Header, fmt.Sprint(pos))
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

func (i *inn) serve(ctx context.Context, k Kind, req Request, body []byte) (status int, pos uint64, answer []byte) {
	if !i.conn.Begin(k, req.Number) {
		return http.StatusConflict, 0, nil
	}
	defer i.conn.Done()
	var err error
	pos = req.At
	switch k {
	case Up:
		pos, err = i.conn.Take(ctx, req.Number, req.At, body)
	case Down:
		answer, err = i.conn.Give(ctx, req.Number, req.At)
	case End:
		i.conn.End()
	}
	switch {
	case errors.Is(err, ErrEnded):
		return http.StatusGone, 0, nil
	case err != nil:
		return http.StatusRequestedRangeNotSatisfiable, 0, nil
	}
	return http.StatusOK, pos, answer
}

func sign(body []byte) []byte { return append(bytes.Repeat([]byte{1}, 32), body[len(body)-32:]...) }

func (i *inn) open() *Stream {
	i.t.Helper()
	s, _, err := Open(context.Background(), Config{HTTP: i.web.Client(), URL: i.web.URL + "/v1/connect?x=1", Key: "k", Sign: sign, Bytes: 5000, Gap: 20 * time.Second})
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() {
		_ = s.Close()
		s.Wait()
	})
	return s
}

// Every other request and every third answer is lost; what is said in both directions
// comes, once and in order, and the buffers are a fraction of it.
func TestEveryByteComesOnceInOrderOverABadNetwork(t *testing.T) {
	t.Parallel()
	i := newInn(t, few)
	n := 0
	i.lose = func(_ Kind, answer bool) bool {
		n++
		return answer && n%3 == 0 || !answer && n%4 == 0
	}
	s := i.open()
	const size = 20_000
	var wg sync.WaitGroup
	for name, ends := range map[string]struct {
		w io.Writer
		r io.Reader
	}{"up": {s, i.conn}, "down": {i.conn, s}} {
		said := make([]byte, size)
		for k := range said {
			said[k] = byte(rand.Uint32())
		}
		wg.Go(func() {
			for rest := said; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(3000))
				if _, err := ends.w.Write(rest[:n]); err != nil {
					t.Errorf("%s: write: %v", name, err)
					return
				}
				rest = rest[n:]
			}
		})
		wg.Go(func() {
			got := make([]byte, size)
			if _, err := io.ReadFull(ends.r, got); err != nil || !bytes.Equal(got, said) {
				t.Errorf("%s: other bytes came, %v", name, err)
			}
		})
	}
	wg.Wait()
}

func TestEndsAreToldToTheOtherEnd(t *testing.T) {
	t.Parallel()
	t.Run("the relay's, with its last words", func(t *testing.T) {
		i := newInn(t, few)
		s := i.open()
		_, _ = io.WriteString(i.conn, "bye")
		_ = i.conn.Close()
		if all, err := io.ReadAll(s); err != nil || string(all) != "bye" {
			t.Errorf("%q, %v", all, err)
		}
	})
	t.Run("the client's", func(t *testing.T) {
		i := newInn(t, few)
		_ = i.open().Close()
		if _, err := i.conn.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the relay reads %v", err)
		}
		<-i.gone
	})
}

func TestStreamEndsWhenNobodyIsThere(t *testing.T) {
	t.Parallel()
	i := newInn(t, few)
	i.lose = func(Kind, bool) bool { return true }
	s, _, err := Open(context.Background(), Config{HTTP: i.web.Client(), URL: i.web.URL, Sign: sign, Bytes: 5000, Gap: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Error("a stream to nobody lives")
	}
	s.Wait()
}

func TestOpenTakesNobodyElseForARelay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header, body string
		status       int
		want         error
	}{
		"a captive portal":     {"", "<html>", 200, ErrNoRelay},
		"a relay of 0.2":       {"", "", 426, ErrNoRelay},
		"no JSON":              {"0", "<html>", 200, ErrNoRelay},
		"a short token":        {"0", `{"session":"AAAA","wait_s":1,"bytes":1}`, 200, ErrNoRelay},
		"no room":              {"0", `{"session":"` + Token{}.Text() + `","wait_s":1,"bytes":0}`, 200, ErrNoRelay},
		"too long":             {"0", strings.Repeat(" ", openedBytes+1), 200, ErrNoRelay},
		"a relay that is full": {"-", "", 503, &StatusError{503}},
	} {
		t.Run(name, func(t *testing.T) {
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.header != "" {
					w.Header().Set(Header, c.header)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer web.Close()
			_, _, err := Open(context.Background(), Config{HTTP: web.Client(), URL: web.URL, Sign: sign, Bytes: 5000})
			no := new(StatusError)
			if !errors.Is(err, c.want) && (!errors.As(err, &no) || no.Error() != c.want.Error()) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestConnWaitsNoLongerThanItsLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := false
		c := NewConn(nil, nil, few, func() { gone = true })
		since := time.Now()
		passed := func(what string, want time.Duration) {
			t.Helper()
			if d := time.Since(since); d != want {
				t.Errorf("%s after %v, want %v", what, d, want)
			}
			since = time.Now()
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		passed("read", time.Second)
		_ = c.SetWriteDeadline(time.Now().Add(2 * time.Second))
		if n, err := c.Write(make([]byte, 1500)); n != few.Bytes || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %d, %v", n, err)
		}
		passed("write", 2*time.Second)
		if !c.Begin(Up, 1) || c.Begin(Up, 1) {
			t.Error("a request counts twice, or not at all")
		}
		if n, err := c.Take(context.Background(), 1, 0, make([]byte, 1500)); n != uint64(few.Bytes) || err != nil {
			t.Errorf("take: %d, %v", n, err)
		}
		passed("take", few.Wait)
		c.Begin(Down, 1)
		if b, err := c.Give(context.Background(), 1, uint64(few.Bytes)); len(b) != 0 || err != nil {
			t.Errorf("give: %d, %v", len(b), err)
		}
		passed("give", few.Wait)
		time.Sleep(few.Idle)
		if synctest.Wait(); gone {
			t.Error("closed during a request")
		}
		c.Done()
		c.Done()
		time.Sleep(few.Idle)
		if synctest.Wait(); !gone {
			t.Error("open without requests")
		}
	})
}

func TestConnKnowsItsPlace(t *testing.T) {
	t.Parallel()
	c := NewConn(nil, nil, few, func() {})
	defer c.Close()
	ctx := context.Background()
	_, _ = c.Write([]byte("0123456789"))
	c.Begin(Up, 1)
	c.Begin(Down, 1)
	for _, at := range []uint64{1, 11, 1 << 63} {
		if _, err := c.Take(ctx, 1, at, []byte("x")); !errors.Is(err, ErrPosition) {
			t.Errorf("take at %d: %v", at, err)
		}
	}
	for range 2 { // the second one because the answer was lost
		if b, err := c.Give(ctx, 1, 4); err != nil || string(b) != "456789" {
			t.Errorf("give at 4: %q, %v", b, err)
		}
	}
	for _, at := range []uint64{3, 11, 1 << 63} {
		if _, err := c.Give(ctx, 1, at); !errors.Is(err, ErrPosition) {
			t.Errorf("give at %d: %v", at, err)
		}
	}
	// A newer request takes the place of one that waits.
	waiting := make(chan error)
	go func() {
		b, err := c.Give(ctx, 1, 10)
		waiting <- errors.Join(err, map[bool]error{true: errors.New("got something")}[len(b) > 0])
	}()
	c.Begin(Down, 2)
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	_ = c.Close()
	if _, err := c.Give(ctx, 2, 10); !errors.Is(err, ErrEnded) {
		t.Errorf("give at the end: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

func TestRequestHasOneForm(t *testing.T) {
	t.Parallel()
	r := Request{Session: Token{1, 2, 3}, Number: 7, At: 1 << 40, Signature: bytes.Repeat([]byte{9}, 64)}
	text := r.Text()
	want := "AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA 7 1099511627776 " + "CQkJ" + strings.Repeat("CQkJ", 20) + "CQ=="
	if text != want {
		t.Errorf("%s, want %s", text, want)
	}
	if got, err := ParseRequest(text); err != nil || got.Text() != text {
		t.Errorf("%+v, %v", got, err)
	}
	for _, wrong := range []string{
		"", "-", text + " ", " " + text, strings.Replace(text, " 7 ", " 07 ", 1), strings.Replace(text, " 7 ", " +7 ", 1),
		strings.Replace(text, " 7 ", " -7 ", 1), strings.Replace(text, "CQ==", "CR==", 1), strings.Replace(text, "CQ==", "", 1),
		strings.Replace(text, "AAA 7", "AAB 7", 1), strings.Replace(text, " 7 ", " 18446744073709551616 ", 1),
	} {
		if _, err := ParseRequest(wrong); err == nil {
			t.Errorf("%q is read", wrong)
		}
	}
	got := hex.EncodeToString(r.Signed(Up, []byte("abc")))
	const signed = "0102030000000000000000000000000000000000000000000000000000000000" + "01" + "0000000000000007" + "0000010000000000" +
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got != signed {
		t.Errorf("signed is %s, want %s", got, signed)
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add(Request{Signature: make([]byte, 64)}.Text())
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseRequest(s); err == nil && r.Text() != s {
			t.Errorf("%q is written %q", s, r.Text())
		}
	})
}

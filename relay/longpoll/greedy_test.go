package longpoll

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// transport answers requests without a network.
type transport func(*http.Request) (status int, position, body string)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) {
	status, position, body := f(r)
	h := http.Header{}
	h.Set(Header, position)
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// A relay that takes nothing, and says so at once, is not sent the same all the time.
func TestRelayThatTakesNothingIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var posts atomic.Int64
		s, _, err := Open(t.Context(), Config{
			HTTP: &http.Client{Transport: transport(func(r *http.Request) (int, string, string) {
				switch r.URL.Query().Get(Query) {
				case OpenQuery:
					return http.StatusOK, "0", `{"session":"` + Token{}.Text() + `","wait_s":1,"bytes":1000}`
				case Up.String():
					if posts.Add(1) > 1000 {
						return http.StatusGone, "-", ""
					}
					return http.StatusOK, "0", ""
				}
				<-r.Context().Done()
				return http.StatusGone, "-", ""
			})},
			URL: "http://relay.example/", Bytes: 1000, Gap: time.Second, Sign: func([]byte) []byte { return make([]byte, 64) },
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n := posts.Load(); n < 2 || n > int64(time.Second/retryMin)+1 {
			t.Errorf("%d posts in a second", n)
		}
		_ = s.Close()
		s.Wait()
	})
}

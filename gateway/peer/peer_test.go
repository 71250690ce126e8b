package peer_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/gateway/amtp"
	"amesh/gateway/answer"
	"amesh/gateway/discovery"
	"amesh/gateway/peer"
	"amesh/internal/outward"
)

const (
	id  = "0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01"
	key = "6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0aa"
)

// known answers with a record for every domain.
type known struct {
	record amtp.Record
	err    error
}

func (k known) Lookup(context.Context, string) (discovery.Capabilities, error) {
	return discovery.Capabilities{Record: k.record}, k.err
}

func record(url string) known {
	return known{record: amtp.Record{Version: amtp.Version, Gateway: url}}
}

// client is internal/outward's, allowed to contact a test's server.
func client(t *testing.T, url string, l outward.Limits) *outward.Client {
	t.Helper()
	c, err := outward.New(outward.Config{HTTP: true, AllowedHosts: []string{strings.TrimPrefix(url, "http://")}, Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

func sender(t *testing.T, cfg peer.Config) *peer.Sender {
	t.Helper()
	cfg.AllowHTTP = true
	s, err := peer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve is a gateway that answers with h.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func document(t *testing.T, more string) []byte {
	t.Helper()
	m, err := amtp.Parse([]byte(`{"version":"1.0","message_id":"`+id+`","idempotency_key":"`+key+`",
		"timestamp":"2026-11-20T09:20:12Z","sender":"user@a.test","recipients":["bob@b.test"]`+more+`}`), amtp.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	return m.Document()
}

func outgoing(t *testing.T, recipients ...string) peer.Outgoing {
	t.Helper()
	return peer.Outgoing{MessageID: id, Document: document(t, `,"payload":{"out":1}`), Recipients: recipients}
}

// brief is what tests compare of a result.
type brief struct {
	State amtp.State
	Code  amtp.Code
	HTTP  int
	Wait  time.Duration
}

func briefs(results []peer.Result) []brief {
	var all []brief
	for _, r := range results {
		all = append(all, brief{r.State, r.Code, r.HTTPStatus, r.RetryAfter})
	}
	return all
}

func TestEveryAnswerMeansSomethingForEveryRecipient(t *testing.T) {
	t.Parallel()
	delivered := func(status int) brief { return brief{State: amtp.Delivered, HTTP: status} }
	taken := func(status int) brief { return brief{State: amtp.Delivering, HTTP: status} }
	failed := func(status int, c amtp.Code) brief { return brief{State: amtp.Failed, Code: c, HTTP: status} }
	later := func(status int, c amtp.Code) brief { return brief{State: amtp.Retrying, Code: c, HTTP: status} }
	both := func(b brief) []brief { return []brief{b, b} }
	coded := func(code string) string { return `{"error":{"code":"` + code + `","message":"no"}}` }
	list := func(status, bob, eve string) string {
		return `{"message_id":"` + id + `","status":"` + status + `","recipients":[{"address":"eve@b.test",` + eve + `},{"address":"BOB@b.test",` + bob + `}]}`
	}
	for _, c := range []struct {
		name   string
		status int
		header string
		body   string
		want   []brief // of bob and eve
	}{
		{name: "200 without a body", status: 200, want: both(delivered(200))},
		{name: "200 of something else", status: 200, body: "<html>", want: both(delivered(200))},
		{name: "200 without recipients", status: 200, body: `{"status":"delivered","recipients":[]}`, want: both(delivered(200))},
		{name: "200 for both", status: 200, body: list("delivered", `"status":"delivered"`, `"status":"delivered"`), want: both(delivered(200))},
		{name: "200, one only queued", status: 200, body: list("queued", `"status":"delivered"`, `"status":"queued"`),
			want: []brief{delivered(200), taken(200)}},
		{name: "200, one failed", status: 200, body: list("failed", `"status":"delivered"`, `"status":"failed","error_code":"AGENT_UNKNOWN"`),
			want: []brief{delivered(200), failed(200, amtp.CodeAgentUnknown)}},
		{name: "201", status: 201, want: both(delivered(201))},
		{name: "202", status: 202, want: both(taken(202))},
		{name: "202, one delivered", status: 202, body: list("queued", `"status":"delivered"`, `"status":"retrying"`),
			want: []brief{delivered(202), taken(202)}},
		{name: "202, in words of its own", status: 202, body: list("accepted", `"status":"accepted"`, `"state":"queued"`), want: both(taken(202))},
		{name: "400 that is a result", status: 400, body: list("failed", `"status":"delivered"`, `"status":"failed","error_code":"DELIVERY_FAILED","error_message":"push delivery failed with status 500"`),
			want: []brief{delivered(400), failed(400, amtp.CodeDeliveryFailed)}},
		{name: "400 that wants a signature of one", status: 400, body: list("failed", `"status":"delivered"`, `"status":"failed","error_code":"SIGNATURE_REJECTED"`),
			want: []brief{delivered(400), failed(400, amtp.CodeSignatureRequired)}},
		{name: "400 with a state of its own", status: 400, body: list("failed", `"status":"delivered"`, `"status":"lost"`),
			want: []brief{delivered(400), later(400, amtp.CodeUnexpectedStatus)}},
		{name: "400", status: 400, body: coded("VALIDATION_FAILED"), want: both(failed(400, amtp.CodeClientError))},
		{name: "400 version", status: 400, body: coded("UNSUPPORTED_VERSION"), want: both(failed(400, amtp.CodeUnsupportedVersion))},
		{name: "400 with a text", status: 400, body: `{"error":"bad"}`, want: both(failed(400, amtp.CodeClientError))},
		{name: "400 longer than is read", status: 400, body: strings.Repeat(" ", answer.MaxBody+1), want: both(later(400, amtp.CodeResponseReadFailed))},
		{name: "401", status: 401, body: coded("AUTHENTICATION_REQUIRED"), want: both(failed(401, amtp.CodeAuthenticationRequired))},
		{name: "403 mismatch", status: 403, body: coded("SENDER_DOMAIN_MISMATCH"), want: both(failed(403, amtp.CodeSenderDomainMismatch))},
		{name: "403 with a result nobody asked for", status: 403, body: list("delivered", `"status":"delivered"`, `"status":"delivered"`), want: both(failed(403, amtp.CodeClientError))},
		{name: "404", status: 404, body: "404 page not found", want: both(failed(404, amtp.CodeClientError))},
		{name: "404 agent", status: 404, body: coded("AGENT_NOT_FOUND"), want: both(failed(404, amtp.CodeAgentUnknown))},
		{name: "408", status: 408, want: both(later(408, amtp.CodeServerError))},
		{name: "409", status: 409, body: coded("IDEMPOTENCY_CONFLICT"), want: both(failed(409, amtp.CodeIdempotencyConflict))},
		{name: "413", status: 413, body: coded("PAYLOAD_TOO_LARGE"), want: both(failed(413, amtp.CodeMessageTooLarge))},
		{name: "413 of a proxy", status: 413, body: "<html>", want: both(failed(413, amtp.CodeMessageTooLarge))},
		{name: "422 of a code nobody knows", status: 422, body: coded("X\\u0000Y"), want: both(failed(422, amtp.CodeClientError))},
		{name: "401 signature, as the draft has it", status: 401, body: coded("SIGNATURE_REQUIRED"), want: both(failed(401, amtp.CodeSignatureRequired))},
		{name: "403 signature, as the draft has it", status: 403, body: coded("SIGNATURE_INVALID"), want: both(failed(403, amtp.CodeSignatureInvalid))},
		{name: "403 signature, as agentry has it", status: 403, body: coded("SIGNATURE_REJECTED"), want: both(failed(403, amtp.CodeSignatureRequired))},
		{name: "403 our key, as the draft has it", status: 403, body: coded("SIGNATURE_KEY_UNAVAILABLE"), header: "9",
			want: both(brief{amtp.Retrying, amtp.CodeSignatureKeyUnavailable, 403, 9 * time.Second})},
		{name: "403 our key, as agentry has it", status: 403, body: coded("SIGNING_KEY_UNAVAILABLE"), want: both(later(403, amtp.CodeSignatureKeyUnavailable))},
		{name: "429 in seconds", status: 429, header: "120", want: both(brief{amtp.Retrying, amtp.CodeRateLimitExceeded, 429, 2 * time.Minute})},
		{name: "429 for a year", status: 429, header: "31536000", want: both(brief{amtp.Retrying, amtp.CodeRateLimitExceeded, 429, time.Hour})},
		{name: "500", status: 500, body: list("delivered", `"status":"delivered"`, `"status":"delivered"`), want: both(later(500, amtp.CodeServerError))},
		{name: "501", status: 501, want: both(later(501, amtp.CodeServerError))},
		{name: "503 with a date", status: 503, header: "Fri, 20 Nov 2099 09:00:30 GMT", want: both(brief{amtp.Retrying, amtp.CodeServerError, 503, time.Hour})},
		{name: "301", status: 301, want: both(failed(301, amtp.CodeUnexpectedStatus))},
		{name: "304", status: 304, want: both(failed(304, amtp.CodeUnexpectedStatus))},
		{name: "600", status: 600, want: both(failed(600, amtp.CodeUnexpectedStatus))},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			requests := make(chan struct{}, 100)
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests <- struct{}{}
				w.Header().Set("Retry-After", c.header)
				w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			s := sender(t, peer.Config{Client: client(t, url, outward.Limits{}), Discovery: record(url)})
			results := s.Send(t.Context(), "b.test", outgoing(t, "bob@b.test", "eve@b.test"))
			if diff := cmp.Diff(c.want, briefs(results)); diff != "" {
				t.Error(diff)
			}
			if len(requests) != 1 {
				t.Errorf("%d requests", len(requests))
			}
			for _, r := range results {
				if r.Untried || len(r.Text) > answer.MaxText || r.Text != answer.Clean(r.Text) {
					t.Errorf("untried %v, text %q", r.Untried, r.Text)
				}
				if bad := r.State == amtp.Failed || r.State == amtp.Retrying; bad != (r.Text != "") || bad != (r.Code != "") {
					t.Errorf("%s: code %q, text %q", r.State, r.Code, r.Text)
				}
			}
		})
	}
}

func TestRequestIsAgentrysWithOurHeaders(t *testing.T) {
	t.Parallel()
	type seen struct {
		header http.Header
		path   string
		body   map[string]any
	}
	got := make(chan seen, 1)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		v := seen{header: r.Header.Clone(), path: r.Method + " " + r.URL.Path}
		if err := json.NewDecoder(r.Body).Decode(&v.body); err != nil {
			t.Error(err)
		}
		got <- v
	})
	s := sender(t, peer.Config{Client: client(t, url, outward.Limits{}), Discovery: record(url + "/base/"), Credentials: tokens{"b.test": "t0ken"}})
	s.Send(t.Context(), "b.test", peer.Outgoing{MessageID: id, Document: document(t, `,"payload":{"out":2}`), Recipients: []string{"z@b.test"}})
	v := <-got
	if v.path != "POST /base/v1/messages" {
		t.Error(v.path)
	}
	for name, want := range map[string]string{
		"User-Agent": peer.DefaultUserAgent, "X-Amtp-Version": "1.0", "Content-Type": "application/json",
		"Accept": "application/json", "Authorization": "Bearer t0ken",
	} {
		if v.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, v.header.Get(name), want)
		}
	}
	want := map[string]any{ // golden 182, and the member that newer gateways always send
		"attachments": nil, "coordination": nil, "headers": nil, "idempotency_key": key, "in_reply_to": "",
		"message_id": id, "payload": map[string]any{"out": 2.0}, "recipients": []any{"z@b.test"}, "response_type": "",
		"schema": "", "sender": "user@a.test", "signature": nil, "subject": "", "timestamp": "2026-11-20T09:20:12Z",
		"version": "1.0", "workflow_id": "",
	}
	if diff := cmp.Diff(want, v.body); diff != "" {
		t.Error(diff)
	}
}

// tokens are by domain.
type tokens map[string]string

func (k tokens) Token(_ context.Context, domain string, _ []string) (string, error) {
	return k[domain], nil
}

func TestNothingGoesToWhomItCannot(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 10)
	url := serve(t, func(http.ResponseWriter, *http.Request) { asked <- struct{}{} })
	cl := client(t, url, outward.Limits{})
	small := record(url)
	small.record.MaxSize = 100
	other := record(url)
	other.record.Version = "2.0"
	absent := &discovery.LookupError{Name: "b.test", Code: amtp.CodeDiscoveryFailed, Text: "no AMTP gateway"}
	for _, c := range []struct {
		name string
		cfg  peer.Config
		want brief
	}{
		{"larger than it takes", peer.Config{Client: cl, Discovery: small}, brief{State: amtp.Failed, Code: amtp.CodeMessageTooLarge}},
		{"another version", peer.Config{Client: cl, Discovery: other}, brief{State: amtp.Failed, Code: amtp.CodeUnsupportedVersion}},
		{"no URL", peer.Config{Client: cl, Discovery: record("ftp://b.test")}, brief{State: amtp.Failed, Code: amtp.CodeInvalidGateway}},
		{"no record", peer.Config{Client: cl, Discovery: known{err: absent}}, brief{State: amtp.Failed, Code: amtp.CodeDiscoveryFailed}},
		{"no DNS", peer.Config{Client: cl, Discovery: known{err: errors.New("resolver 10.0.0.1: timeout")}}, brief{State: amtp.Retrying, Code: amtp.CodeDiscoveryFailed}},
		{"an inner address", peer.Config{Client: cl, Discovery: record("https://127.0.0.2:8443")}, brief{State: amtp.Failed, Code: amtp.CodeSSRFBlocked}},
		{"no token", peer.Config{Client: cl, Discovery: record(url), Credentials: noToken{}}, brief{State: amtp.Retrying, Code: amtp.CodeAuthenticationFailed}},
	} {
		results := sender(t, c.cfg).Send(t.Context(), "b.test", outgoing(t, "bob@b.test"))
		if diff := cmp.Diff([]brief{c.want}, briefs(results)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
		if strings.Contains(results[0].Text, "10.0.0.1") || strings.Contains(results[0].Text, "127.0.0") {
			t.Errorf("%s: %q", c.name, results[0].Text)
		}
	}
	if len(asked) != 0 {
		t.Errorf("%d requests", len(asked))
	}
}

type noToken struct{}

func (noToken) Token(context.Context, string, []string) (string, error) {
	return "", errors.New("the token server says no")
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestNobodyAnswersIsTriedAgain(t *testing.T) {
	t.Parallel()
	closed := "http://" + closedPort(t)
	hangs := make(chan struct{})
	slow := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-hangs
	})
	t.Cleanup(func() { close(hangs) }) // runs before the server is closed
	breaks := serve(t, func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	for name, url := range map[string]string{"closed": closed, "slow": slow, "breaks": breaks} {
		s := sender(t, peer.Config{Client: client(t, url, outward.Limits{}), Discovery: record(url), Limits: peer.Limits{Timeout: 50 * time.Millisecond}})
		got := briefs(s.Send(t.Context(), "b.test", outgoing(t, "bob@b.test")))
		if diff := cmp.Diff([]brief{{State: amtp.Retrying, Code: amtp.CodeHTTPRequestFailed}}, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestWhatWeBreakOffIsNoTry(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	s := sender(t, peer.Config{Client: client(t, url, outward.Limits{}), Discovery: record(url)})
	for range 2 { // under way, and before
		r := s.Send(ctx, "b.test", outgoing(t, "bob@b.test"))[0]
		if !r.Untried || r.State != amtp.Retrying || r.Code != amtp.CodeContextCanceled {
			t.Errorf("%+v", r)
		}
	}
}

// T82: an answer without end costs neither memory nor more than its time, and one that
// is longer than anybody needs changes nothing of what its status says.
func TestT82AnswersWithoutEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		want   brief
	}{
		"taken":   {200, brief{State: amtp.Delivered, HTTP: 200}},
		"refused": {400, brief{State: amtp.Retrying, Code: amtp.CodeResponseReadFailed, HTTP: 400}},
	} {
		for how, write := range map[string]func(http.ResponseWriter, *http.Request){
			"10 MB": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 10<<20)) },
			"endless": func(w http.ResponseWriter, r *http.Request) {
				for r.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 1024)); err != nil {
						return
					}
				}
			},
			"a byte, and silence": func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "{")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				url := serve(t, func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					w.WriteHeader(c.status)
					write(w, r)
				})
				s := sender(t, peer.Config{Client: client(t, url, outward.Limits{}), Discovery: record(url), Limits: peer.Limits{Timeout: time.Second}})
				got := briefs(s.Send(t.Context(), "b.test", outgoing(t, "bob@b.test")))
				if diff := cmp.Diff([]brief{c.want}, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"amesh/gateway/amtp"
	"amesh/gateway/answer"
	"amesh/gateway/store"
	"amesh/gateway/webhook"
	"amesh/internal/outward"
)

const id = "01a1f841-c1c7-70b3-9c4a-616e0afb387a"

func document(t *testing.T, more string) []byte {
	t.Helper()
	m, err := amtp.Parse([]byte(`{"version":"1.0","message_id":"`+id+`","timestamp":"2026-11-20T09:20:21Z",
		"sender":"test@a.local","recipients":["pusher@a.local"],"subject":"s"`+more+`}`), amtp.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	return m.Document()
}

// serve is an agent's server, and a Pusher that may contact it.
func serve(t *testing.T, h http.HandlerFunc) (*webhook.Pusher, string) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c, err := outward.New(outward.Config{HTTP: true, AllowedHosts: []string{strings.TrimPrefix(srv.URL, "http://")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	p, err := webhook.New(webhook.Config{Client: c, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return p, srv.URL + "/hook"
}

func TestPushIsAgentrysAndSigned(t *testing.T) {
	t.Parallel()
	type seen struct {
		header http.Header
		body   []byte
	}
	got := make(chan seen, 1)
	p, url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/hook" {
			t.Error(r.Method, r.URL.Path, err)
		}
		got <- seen{r.Header.Clone(), b}
	})
	r := p.Push(t.Context(), store.Agent{
		Address: "pusher@a.local", Mode: store.Push, PushTarget: url, PushSecret: "s3cret",
		Headers: map[string]string{"Authorization": "Bearer t", "X-Agent-Id": "svc", "x-amtp-signature": "v1=forged", "Host": "elsewhere.test", "Content-Type": "text/plain"},
	}, document(t, `,"payload":{"p":"<1>"}`))
	if r.State != amtp.Delivered || r.HTTPStatus != 200 || r.Reply != nil {
		t.Errorf("%+v", r)
	}
	v := <-got
	for name, want := range map[string]string{ // golden 190, and ours
		"User-Agent": "AMTP-Gateway/1.0", "Authorization": "Bearer t", "X-Agent-Id": "svc", "X-Amtp-Local-Delivery": "true",
		"Content-Type": "application/json", "X-Amtp-Delivery-Id": id + "/pusher@a.local",
	} {
		if v.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, v.header.Get(name), want)
		}
	}
	want := `{"message_id":"` + id + `","sender":"test@a.local","recipient":"pusher@a.local","subject":"s","schema":"",` +
		`"timestamp":"2026-11-20T09:20:21Z","headers":null,"payload":{"p":"<1>"},"attachments":null,"coordination":null,` +
		`"in_reply_to":"","response_type":""}`
	if string(v.body) != want {
		t.Errorf("got  %s\nwant %s", v.body, want)
	}
	if err := webhook.Verify([]byte("s3cret"), v.header, v.body, time.Now()); err != nil {
		t.Error(err)
	}
}

func TestAgentWithoutASecretGetsNoSignature(t *testing.T) {
	t.Parallel()
	p, url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get(webhook.HeaderSignature) != "" || r.Header.Get(webhook.HeaderTimestamp) != "" {
			t.Error(r.Header)
		}
	})
	if r := p.Push(t.Context(), store.Agent{Address: "x@a.local", PushTarget: url}, document(t, "")); r.State != amtp.Delivered {
		t.Errorf("%+v", r)
	}
}

func TestEveryAnswerToAPush(t *testing.T) {
	t.Parallel()
	type want struct {
		State amtp.State
		Code  amtp.Code
		Wait  time.Duration
		Reply string
	}
	const pushed = amtp.CodePushDeliveryFailed
	for _, c := range []struct {
		name   string
		status int
		header string
		body   string
		want   want
	}{
		{"200", 200, "", "", want{State: amtp.Delivered}},
		{"204", 204, "", "", want{State: amtp.Delivered}},
		{"with a reply", 200, "", `{"status":"accepted","response":{"order":"confirmed"}}`, want{State: amtp.Delivered, Reply: `{"order":"confirmed"}`}},
		{"with a reply of a word", 202, "", `{"status":"accepted","response":"yes"}`, want{State: amtp.Delivered, Reply: `"yes"`}},
		{"accepted and no reply", 200, "", `{"status":"accepted"}`, want{State: amtp.Delivered}},
		{"accepted and null", 200, "", `{"status":"accepted","response":null}`, want{State: amtp.Delivered}},
		{"another status", 200, "", `{"status":"ok","response":{}}`, want{State: amtp.Delivered}},
		{"no JSON", 200, "", `<html>`, want{State: amtp.Delivered}},
		{"a reply that is too long", 200, "", `{"status":"accepted","response":"` + strings.Repeat("x", answer.MaxBody) + `"}`, want{State: amtp.Delivered}},
		{"a redirect", 307, "", "", want{State: amtp.Failed, Code: pushed}},
		{"400", 400, "", `{"status":"accepted","response":{}}`, want{State: amtp.Failed, Code: pushed}},
		{"410", 410, "", "", want{State: amtp.Failed, Code: pushed}},
		{"408", 408, "", "", want{State: amtp.Retrying, Code: pushed}},
		{"429", 429, "30", "", want{State: amtp.Retrying, Code: pushed, Wait: 30 * time.Second}},
		{"500", 500, "", "", want{State: amtp.Retrying, Code: pushed}},
		{"503", 503, "86400", "", want{State: amtp.Retrying, Code: pushed, Wait: time.Hour}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			requests := make(chan struct{}, 10)
			p, url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				requests <- struct{}{}
				w.Header().Set("Retry-After", c.header)
				w.Header().Set("Location", "/hook")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			r := p.Push(t.Context(), store.Agent{Address: "x@a.local", PushTarget: url}, document(t, ""))
			if diff := cmp.Diff(c.want, want{r.State, r.Code, r.RetryAfter, string(r.Reply)}); diff != "" {
				t.Error(diff)
			}
			if r.HTTPStatus != c.status || len(requests) != 1 || r.Untried {
				t.Errorf("%+v, %d requests", r, len(requests))
			}
		})
	}
}

func TestPushThatCannotBe(t *testing.T) {
	t.Parallel()
	p, url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name    string
		ctx     context.Context
		target  string
		state   amtp.State
		code    amtp.Code
		untried bool
	}{
		{"no URL", t.Context(), "", amtp.Failed, amtp.CodeMissingPushTarget, false},
		{"not a URL", t.Context(), "http://%zz", amtp.Failed, amtp.CodePushRequestFailed, false},
		{"an inner address", t.Context(), "http://169.254.169.254/latest", amtp.Failed, amtp.CodeSSRFBlocked, false},
		{"no answer", t.Context(), url, amtp.Retrying, amtp.CodePushRequestFailed, false},
		{"broken off", over, url, amtp.Retrying, amtp.CodeContextCanceled, true},
	} {
		r := p.Push(c.ctx, store.Agent{Address: "x@a.local", PushTarget: c.target}, document(t, ""))
		if r.State != c.state || r.Code != c.code || r.Untried != c.untried || strings.Contains(r.Text, "169.254") ||
			r.Code == amtp.CodeSSRFBlocked && !strings.Contains(r.Text, "push.internal") {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

// What a push_target has in its query is nobody's business who reads the log.
func TestLogNamesNoTarget(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c, err := outward.New(outward.Config{HTTP: true, AllowedHosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := webhook.New(webhook.Config{Client: c, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"http://127.0.0.1:1/?token=s3cret", "http://10.0.0.1/?token=s3cret", "http://%zz/?token=s3cret"} {
		p.Push(t.Context(), store.Agent{Address: "x@a.local", PushTarget: target}, document(t, ""))
	}
	if strings.Contains(log.String(), "s3cret") || strings.Count(log.String(), "\n") != 3 {
		t.Error(log.String())
	}
}

func TestBodyHasWhatTheMessageHas(t *testing.T) {
	t.Parallel()
	got := make(chan map[string]any, 1)
	p, url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		var m map[string]any
		_ = json.NewDecoder(r.Body).Decode(&m)
		got <- m
	})
	p.Push(t.Context(), store.Agent{Address: "x@a.local", PushTarget: url}, document(t, `,"headers":{"h":1},"payload":[1],
		"schema":"agntcy:commerce.order.v2","response_type":"workflow_response","workflow_id":"w1","in_reply_to":"`+id+`",
		"attachments":[{"filename":"f","content_type":"t","size":3,"hash":"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","url":"https://x.test/f"}]`))
	m := <-got
	for name, want := range map[string]any{
		"headers": map[string]any{"h": 1.0}, "payload": []any{1.0}, "schema": "agntcy:commerce.order.v2",
		"response_type": "workflow_response", "workflow_id": "w1", "in_reply_to": id,
	} {
		if diff := cmp.Diff(want, m[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if list, _ := m["attachments"].([]any); len(list) != 1 {
		t.Errorf("attachments: %v", m["attachments"])
	}
}

package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// answering is a client of a gateway that answers every request in one way, and what
// that gateway was asked.
func answering(t *testing.T, status int, body string) (*Client, *http.Request) {
	t.Helper()
	seen := new(http.Request)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		*seen = *r.Clone(t.Context())
		seen.Body = io.NopCloser(strings.NewReader(string(raw)))
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	c, err := New(Config{URL: s.URL + "/", AdminKey: "admin", AgentKey: "agent"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, seen
}

func TestNewTakesURLsOfGatewaysOnly(t *testing.T) {
	for _, u := range []string{"", "gateway", "ftp://a", "http://", "https://user@a", "https://a?b", "https://a#b", "localhost:8080", "http://[::1"} {
		if _, err := New(Config{URL: u}); !errors.Is(err, ErrURL) {
			t.Errorf("%q: %v", u, err)
		}
	}
}

func TestRequestsCarryKeysAndEscapedPaths(t *testing.T) {
	c, seen := answering(t, http.StatusOK, `{"messages":[{"message_id":"a","sender":"x@y","extra":1}],"has_more":true}`)
	in, err := c.Inbox(t.Context(), "user/../x@localhost", Page{Limit: 3, Since: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if got := seen.RequestURI; got != "/v1/inbox/user%2F..%2Fx@localhost?limit=3&since=1970-01-01T00%3A00%3A00Z" {
		t.Errorf("asked for %s", got)
	}
	if seen.Header.Get(AdminHeader) != "admin" || seen.Header.Get("Authorization") != "Bearer agent" {
		t.Errorf("headers: %v", seen.Header)
	}
	if !in.More || len(in.Messages) != 1 || in.Messages[0].ID != "a" || !strings.Contains(string(in.Messages[0].Document), "extra") {
		t.Errorf("%+v", in)
	}
}

func TestSelectionsAreBodies(t *testing.T) {
	c, seen := answering(t, http.StatusOK, `{"count":3}`)
	n, err := c.Redrive(t.Context(), Selection{Target: "dead.example"})
	if err != nil || n != 3 {
		t.Fatal(n, err)
	}
	var got map[string]any
	if err := json.NewDecoder(seen.Body).Decode(&got); err != nil || len(got) != 1 || got["target"] != "dead.example" {
		t.Errorf("%v, %v", got, err)
	}
}

// A gateway changes so many at once: it is asked until nothing is left, or the limit is
// reached.
func TestHeapsAreChangedInSeveralCalls(t *testing.T) {
	for _, c := range []struct {
		limit, want int
		bodies      []string
	}{
		{0, 12, []string{`{"all":true}`, `{"all":true,"after":"1.5"}`, `{"all":true,"after":"2.5"}`}},
		{7, 7, []string{`{"all":true,"limit":7}`, `{"all":true,"limit":2,"after":"1.5"}`}},
	} {
		var bodies []string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			raw, _ := io.ReadAll(r.Body)
			bodies = append(bodies, string(raw))
			var asked struct{ Limit int }
			_ = json.Unmarshal(raw, &asked)
			if len(bodies) == 3 || asked.Limit == 2 {
				_, _ = io.WriteString(w, `{"count":2,"more":false}`)
				return
			}
			fmt.Fprintf(w, `{"count":5,"more":true,"next":"%d.5"}`, len(bodies))
		}))
		t.Cleanup(s.Close)
		client, err := New(Config{URL: s.URL})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		n, err := client.Redrive(t.Context(), Selection{All: true, Limit: c.limit})
		if err != nil || n != c.want || !slices.Equal(bodies, c.bodies) {
			t.Errorf("changed %d, %v, asked %q", n, err, bodies)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   Error
	}{
		{"of a gateway", 404, `{"error":{"code":"AGENT_NOT_FOUND","message":"no such agent"},"message":"no such agent"}`, Error{Code: "AGENT_NOT_FOUND", Message: "no such agent"}},
		{"of a proxy", 502, " bad gateway \n", Error{Message: "bad gateway"}},
		{"of something else", 401, `{"error":"no"}`, Error{Message: `{"error":"no"}`}},
		{"redirect", 302, "", Error{}},
	} {
		client, _ := answering(t, c.status, c.body)
		e, ok := errors.AsType[*Error](client.Unregister(t.Context(), "a"))
		if !ok || e.Status != c.status || e.Code != c.want.Code || e.Message != c.want.Message || e.RetryAfter != 7*time.Second {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	c, _ := answering(t, http.StatusOK, `<html>`)
	if _, err := c.Agents(t.Context()); !errors.Is(err, ErrAnswer) {
		t.Error(err)
	}
	if err := c.Health(t.Context()); !errors.Is(err, ErrAnswer) {
		t.Error(err)
	}
	c, _ = answering(t, http.StatusOK, `{"healthy":false,"status":"unhealthy"}`)
	if err := c.Health(t.Context()); !errors.Is(err, ErrAnswer) {
		t.Error(err)
	}
}

func TestListedAgentsAreSortedAndShowNoKey(t *testing.T) {
	c, _ := answering(t, http.StatusOK, `{"agents":{"b@x":{"delivery_mode":"pull","api_key":"leaked"},"a@x":{}},"count":2}`)
	all, err := c.Agents(t.Context())
	if err != nil || len(all) != 2 || all[0].Address != "a@x" || all[1].APIKey != "" {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestSendTellsAResultFromARefusal(t *testing.T) {
	c, seen := answering(t, http.StatusBadRequest, `{"message_id":"a","status":"failed","recipients":[{"address":"x@y","status":"failed","error_code":"AGENT_UNKNOWN"}]}`)
	s, err := c.Send(t.Context(), NewMessage{Sender: "a@b", Recipients: []string{"x@y"}, Payload: json.RawMessage(`{"n":1}`)}, 3*time.Second)
	if err != nil || s.Status != "failed" || s.Recipients[0].ErrorCode != "AGENT_UNKNOWN" {
		t.Errorf("%+v, %v", s, err)
	}
	if seen.Header.Get("Prefer") != "wait=3" {
		t.Errorf("headers: %v", seen.Header)
	}
	c, _ = answering(t, http.StatusBadRequest, `{"error":{"code":"VALIDATION_FAILED","message":"no"}}`)
	if _, err := c.Send(t.Context(), NewMessage{}, 0); err == nil {
		t.Error("a refusal is no error")
	}
}

package gatewaytest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"amesh/gateway/amtp"
)

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	t      testing.TB
}

// Into reads the body as JSON.
func (a Answer) Into(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		a.t.Fatalf("the answer (%d) is not what it should be: %v\n%s", a.Status, err, a.Body)
	}
}

// Error is the error in the body; the zero value where there is none.
func (a Answer) Error() amtp.ErrorDetail {
	var e amtp.ErrorBody
	_ = json.Unmarshal(a.Body, &e) // what is no error is none
	return e.Error
}

// Code is the error's code.
func (a Answer) Code() amtp.Code { return a.Error().Code }

// Want fails the test where the status is another, and returns the answer.
func (a Answer) Want(status int) Answer {
	a.t.Helper()
	if a.Status != status {
		a.t.Fatalf("status %d, want %d\n%s", a.Status, status, a.Body)
	}
	return a
}

// Do sends a request. A body is written as JSON, strings, bytes and readers as they are;
// nil is none. Headers are name, value, ….
func (g *Gateway) Do(method, path string, body any, headers ...string) Answer {
	g.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = bytes.NewReader([]byte(b))
	case []byte:
		r = bytes.NewReader(b)
	case io.Reader:
		r = b
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			g.t.Fatal(err)
		}
		r = bytes.NewReader(raw)
	}
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, g.URL+path, r)
	if err != nil {
		g.t.Fatal(err)
	}
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return Answer{resp.StatusCode, resp.Header, b, g.t}
}

// Admin is Do with the admin key.
func (g *Gateway) Admin(method, path string, body any) Answer {
	g.t.Helper()
	return g.Do(method, path, body, "X-Admin-Key", AdminKey)
}

// Agent is an agent that was registered.
type Agent struct {
	Address string
	Key     string
	g       *Gateway
}

// Register registers an agent that fetches its messages. What with says goes into the
// registration, name and value by turns: "supported_schemas", []string{…}.
func (g *Gateway) Register(name string, with ...any) *Agent {
	g.t.Helper()
	body := map[string]any{"address": name, "delivery_mode": "pull"}
	for i := 0; i+1 < len(with); i += 2 {
		body[with[i].(string)] = with[i+1]
	}
	var made struct {
		Agent struct {
			Address string
			APIKey  string `json:"api_key"`
		}
	}
	g.Admin(http.MethodPost, "/v1/admin/agents", body).Want(http.StatusCreated).Into(&made)
	return &Agent{made.Agent.Address, made.Agent.APIKey, g}
}

// Do is the gateway's, with the agent's key.
func (a *Agent) Do(method, path string, body any, headers ...string) Answer {
	a.g.t.Helper()
	return a.g.Do(method, path, body, append([]string{"Authorization", "Bearer " + a.Key}, headers...)...)
}

// Post sends a message of which the sender, and nothing else, is filled in.
func (a *Agent) Post(message map[string]any, headers ...string) Answer {
	a.g.t.Helper()
	whole := map[string]any{"version": amtp.Version, "sender": a.Address}
	for k, v := range message {
		whole[k] = v
	}
	return a.Do(http.MethodPost, "/v1/messages", whole, headers...)
}

// Send sends a payload in JSON to one recipient, and fails the test unless it is accepted.
func (a *Agent) Send(to, payload string) amtp.SendResult {
	a.g.t.Helper()
	got := a.Post(map[string]any{"recipients": []string{to}, "payload": json.RawMessage(payload)})
	if got.Status != http.StatusOK && got.Status != http.StatusAccepted {
		a.g.t.Fatalf("send: %d %s", got.Status, got.Body)
	}
	var res amtp.SendResult
	got.Into(&res)
	return res
}

// Status is what became of a message, now.
func (a *Agent) Status(id string) amtp.MessageStatus {
	a.g.t.Helper()
	var st amtp.MessageStatus
	a.Do(http.MethodGet, "/v1/messages/"+id+"/status", nil).Want(http.StatusOK).Into(&st)
	return st
}

// Settled is what became of a message when it is at an end for all its recipients.
func (a *Agent) Settled(id string) amtp.MessageStatus {
	a.g.t.Helper()
	var st amtp.MessageStatus
	a.Do(http.MethodGet, "/v1/messages/"+id+"/status", nil, "Prefer", "wait=20").Want(http.StatusOK).Into(&st)
	for _, r := range st.Recipients {
		if !r.Status.Final() {
			a.g.t.Fatalf("%s is still %s for %s: %s %s", id, r.Status, r.Address, r.ErrorCode, r.ErrorMessage)
		}
	}
	return st
}

// Message is a message as an inbox has it.
type Message struct {
	MessageID      string          `json:"message_id"`
	IdempotencyKey string          `json:"idempotency_key"`
	Sender         string          `json:"sender"`
	Recipients     []string        `json:"recipients"`
	Subject        string          `json:"subject"`
	Schema         string          `json:"schema"`
	InReplyTo      string          `json:"in_reply_to"`
	ResponseType   string          `json:"response_type"`
	Headers        json.RawMessage `json:"headers"`
	Payload        json.RawMessage `json:"payload"`
}

// Inbox is what the agent has not acknowledged, the first page of it.
func (a *Agent) Inbox() []Message {
	a.g.t.Helper()
	var page struct{ Messages []Message }
	a.Do(http.MethodGet, "/v1/inbox/"+url.PathEscape(a.Address), nil).Want(http.StatusOK).Into(&page)
	return page.Messages
}

// patience is how long something may take that is to happen at once.
const patience = time.Minute

// Arrived waits until something is in the inbox, and returns it.
func (a *Agent) Arrived() []Message {
	a.g.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if in := a.Inbox(); len(in) > 0 {
			return in
		}
	}
	a.g.t.Fatalf("nothing arrived for %s", a.Address)
	return nil
}

// Ack takes a message out of the inbox.
func (a *Agent) Ack(id string) Answer {
	a.g.t.Helper()
	return a.Do(http.MethodDelete, "/v1/inbox/"+url.PathEscape(a.Address)+"/"+id, nil)
}

package gatewaytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/gateway/amtp"
)

// Agentry stands in for a gateway of the reference implementation where its program is not
// at hand. It has that one's ways with ids and keys, which are what federation trips
// over: a key that it knows is answered with the first result whoever it is for, and a
// message replaces the one of the same id. It sends to each recipient apart, with one id
// and one key, and every member there or null (AMTP §8).
type Agentry struct {
	Domain string
	URL    string
	t      testing.TB

	mu       sync.Mutex
	gateways map[string]string // domain to URL
	results  map[string][]byte // key to answer
	messages map[string]Message
	posts    int
	down     bool
}

// StartAgentry starts one, which ends with the test.
func StartAgentry(t testing.TB, domain string) *Agentry {
	t.Helper()
	a := &Agentry{Domain: domain, t: t, gateways: map[string]string{}, results: map[string][]byte{}, messages: map[string]Message{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/messages", a.take)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	a.URL = server.URL
	return a
}

// Record is what DNS says of it.
func (a *Agentry) Record() string { return "v=amtp1;gateway=" + a.URL }

// Knows tells it where a domain's gateway is.
func (a *Agentry) Knows(domain, url string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gateways[domain] = url
}

// Down lets every request fail with 503, or not any more.
func (a *Agentry) Down(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
}

// Posts is how many messages were handed to it, repeated ones too.
func (a *Agentry) Posts() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.posts
}

// Inbox is what an agent finds, in the order of ids.
func (a *Agentry) Inbox(address string) []Message {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []Message
	for _, m := range a.messages {
		if slices.Contains(m.Recipients, address) {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, func(x, y Message) int { return strings.Compare(x.MessageID, y.MessageID) })
	return found
}

// take takes a message as the reference does.
func (a *Agentry) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var m Message
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.posts++
	switch {
	case a.down:
		a.refuse(w, http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "down")
		return
	case err != nil:
		a.refuse(w, http.StatusBadRequest, "INVALID_REQUEST_FORMAT", err.Error())
		return
	case !shape(m.MessageID, '7') || m.Sender == "" || len(m.Recipients) == 0:
		a.refuse(w, http.StatusBadRequest, "VALIDATION_FAILED", "message_id, sender or recipients")
		return
	case !shape(m.IdempotencyKey, '4'):
		a.refuse(w, http.StatusBadRequest, "MESSAGE_VALIDATION_FAILED", "idempotency_key")
		return
	}
	result, known := a.results[m.IdempotencyKey]
	if !known {
		a.messages[m.MessageID] = m
		result = a.result(m)
		a.results[m.IdempotencyKey] = result
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(result)
}

// shape is the reference's look at a UUID: the length, the dashes and the version.
func shape(id string, version byte) bool {
	return len(id) == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-' && id[14] == version && strings.IndexByte("89abAB", id[19]) >= 0
}

func (a *Agentry) result(m Message) []byte {
	type recipient struct {
		Address  string    `json:"address"`
		Status   string    `json:"status"`
		At       time.Time `json:"timestamp"`
		Attempts int       `json:"attempts"`
		Mode     string    `json:"delivery_mode"`
		Local    bool      `json:"local_delivery"`
		Inbox    bool      `json:"inbox_delivered"`
	}
	list := make([]recipient, len(m.Recipients))
	for i, address := range m.Recipients {
		list[i] = recipient{address, "delivered", time.Now().UTC(), 1, "pull", true, true}
	}
	raw, err := json.Marshal(map[string]any{"message_id": m.MessageID, "status": "delivered", "recipients": list})
	if err != nil {
		panic(err) // of a struct of ours
	}
	return raw
}

func (a *Agentry) refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": message, "timestamp": time.Now().UTC()}})
}

// Send sends a payload in JSON as the reference does: a request for each recipient. It
// returns the id and the status codes, by recipient.
func (a *Agentry) Send(sender string, recipients []string, payload string) (id string, codes map[string]int) {
	a.t.Helper()
	id, codes = amtp.NewMessageID(time.Now()), map[string]int{}
	key := amtp.NewKey()
	for _, to := range recipients {
		codes[to] = a.post(to, map[string]any{
			"version": "1.0", "message_id": id, "idempotency_key": key, "timestamp": time.Now().UTC().Format(time.RFC3339),
			"sender": sender, "recipients": []string{to}, "subject": "", "schema": "", "coordination": nil, "headers": nil,
			"payload": json.RawMessage(payload), "attachments": nil, "signature": nil, "in_reply_to": "", "response_type": "",
		})
	}
	return id, codes
}

func (a *Agentry) post(to string, message map[string]any) int {
	a.t.Helper()
	raw, err := json.Marshal(message)
	if err != nil {
		a.t.Fatal(err)
	}
	_, domain, _ := strings.Cut(to, "@")
	a.mu.Lock()
	url := a.gateways[domain]
	a.mu.Unlock()
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, url+"/v1/messages", bytes.NewReader(raw))
	if err != nil {
		a.t.Fatal(err)
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "AMTP-Gateway/1.0"} {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(fmt.Errorf("%s to %s: %w", a.Domain, to, err))
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

package peer_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"amesh/gateway/amtp"
	"amesh/gateway/peer"
	"amesh/internal/outward"
)

// message is what a fake gateway looks at.
type message struct {
	ID         string            `json:"message_id"`
	Key        string            `json:"idempotency_key"`
	Recipients []string          `json:"recipients"`
	Headers    map[string]string `json:"headers"`
	Signature  json.RawMessage   `json:"signature"`
}

// agentry takes messages as agentry does: a key that it has seen gets the first answer
// whoever the recipients are, and an id that it has seen is overwritten.
type agentry struct {
	tellsApart bool // unlike agentry: the recipients of one message

	mu       sync.Mutex
	requests []message
	answers  map[string][]byte  // by key
	kept     map[string]message // by id
}

func newAgentry() *agentry {
	return &agentry{answers: make(map[string][]byte), kept: make(map[string]message)}
}

func (a *agentry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m message
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, m)
	if a.answers[m.Key] == nil || a.tellsApart {
		a.kept[m.ID] = m
		var each []string
		for _, to := range m.Recipients {
			each = append(each, fmt.Sprintf(`{"address":%q,"status":"delivered","attempts":1}`, to))
		}
		a.answers[m.Key] = fmt.Appendf(nil, `{"message_id":%q,"status":"delivered","recipients":[%s]}`, m.ID, strings.Join(each, ","))
	}
	_, _ = w.Write(a.answers[m.Key])
}

// inbox counts a recipient's messages, by the id that their sender gave them.
func (a *agentry) inbox(recipient string) map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := make(map[string]int)
	for _, m := range a.kept {
		if slices.Contains(m.Recipients, recipient) {
			original := m.ID
			if h := m.Headers[amtp.OriginalIDHeader]; h != "" {
				original = h
			}
			n[original]++
		}
	}
	return n
}

// signs puts a signature where one belongs.
type signs struct{}

func (signs) Signs() bool { return true }

func (signs) Sign(m []byte) ([]byte, error) {
	return bytes.Replace(m, []byte(`"signature":null`), []byte(`"signature":{"algorithm":"ES256"}`), 1), nil
}

func TestFanOut(t *testing.T) {
	t.Parallel()
	_, eveKey := amtp.ForRecipient(id, "eve@b.test")
	eveID, _ := amtp.ForRecipient(id, "eve@b.test")
	signed := json.RawMessage(`{"algorithm":"ES256"}`)
	null := json.RawMessage("null")
	original := map[string]string{amtp.OriginalIDHeader: id}
	bob, eve := []string{"bob@b.test"}, []string{"eve@b.test"}
	for _, c := range []struct {
		name     string
		signer   peer.Signer
		features []string
		first    string
		to       []string
		want     []message
	}{
		{name: "unsigned goes in one", to: []string{"bob@b.test", "eve@b.test"},
			want: []message{{ID: id, Key: key, Recipients: []string{"bob@b.test", "eve@b.test"}, Signature: null}}},
		{name: "signed goes apart", signer: signs{}, to: []string{"bob@b.test", "eve@b.test"},
			want: []message{{ID: id, Key: key, Recipients: bob, Signature: signed}, {ID: eveID, Key: eveKey, Recipients: eve, Headers: original, Signature: signed}}},
		{name: "the second, tried again", signer: signs{}, first: "bob@b.test", to: eve,
			want: []message{{ID: eveID, Key: eveKey, Recipients: eve, Headers: original, Signature: signed}}},
		{name: "to who tells recipients apart", signer: signs{}, features: []string{peer.FeaturePerRecipient}, to: []string{"bob@b.test", "eve@b.test"},
			want: []message{{ID: id, Key: key, Recipients: bob, Signature: signed}, {ID: id, Key: key, Recipients: eve, Signature: signed}}},
	} {
		a := newAgentry()
		a.tellsApart = len(c.features) > 0
		url := serve(t, a.ServeHTTP)
		k := record(url)
		k.record.Features = c.features
		s := sender(t, peer.Config{Client: client(t, url, outward.Limits{}), Discovery: k, Signer: c.signer})
		m := outgoing(t, c.to...)
		m.First = c.first
		for _, r := range s.Send(t.Context(), "b.test", m) {
			if r.State != amtp.Delivered {
				t.Errorf("%s: %+v", c.name, r)
			}
		}
		if diff := cmp.Diff(c.want, a.requests); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// A recipient that is added to a message later, under its id and key, gets the answer
// of the first from a gateway that knows keys only: it must not count as delivered.
func TestAnswerOfAnEarlierCopyIsNotOurs(t *testing.T) {
	t.Parallel()
	a := newAgentry()
	url := serve(t, a.ServeHTTP)
	s := sender(t, peer.Config{Client: client(t, url, outward.Limits{}), Discovery: record(url)})
	for _, to := range []string{"bob@b.test", "eve@b.test", "eve@b.test"} {
		if r := s.Send(t.Context(), "b.test", outgoing(t, to))[0]; r.State != amtp.Delivered {
			t.Errorf("%s: %+v", to, r)
		}
	}
	for _, to := range []string{"bob@b.test", "eve@b.test"} {
		if diff := cmp.Diff(map[string]int{id: 1}, a.inbox(to)); diff != "" {
			t.Errorf("%s: %s", to, diff)
		}
	}
}

// Who has had a message knows its id, and may have used it at another gateway
// before its sender. That costs the message its id there, and nothing else.
func TestTakenIDIsNoEnd(t *testing.T) {
	t.Parallel()
	for name, signer := range map[string]peer.Signer{"unsigned": nil, "signed": signs{}} {
		a := newAgentry()
		conflicts := 0
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			var m message
			_ = json.Unmarshal(body, &m)
			if m.ID == id {
				conflicts++
				w.WriteHeader(http.StatusConflict)
				_, _ = w.Write([]byte(`{"error":{"code":"MESSAGE_ID_CONFLICT","message":"taken"}}`))
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			a.ServeHTTP(w, r)
		})
		s := sender(t, peer.Config{Client: client(t, url, outward.Limits{}), Discovery: record(url), Signer: signer})
		for _, r := range s.Send(t.Context(), "b.test", outgoing(t, "bob@b.test", "eve@b.test")) {
			if r.State != amtp.Delivered {
				t.Errorf("%s: %+v", name, r)
			}
		}
		for _, to := range []string{"bob@b.test", "eve@b.test"} {
			if diff := cmp.Diff(map[string]int{id: 1}, a.inbox(to)); diff != "" || conflicts != 1 {
				t.Errorf("%s, %s: %d conflicts, %s", name, to, conflicts, diff)
			}
		}
	}
}

// A gateway that has every id already is asked twice, not for ever.
func TestIDsThatAreAllTaken(t *testing.T) {
	t.Parallel()
	requests := make(chan struct{}, 100)
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		requests <- struct{}{}
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte(`{"error":{"code":"MESSAGE_ID_CONFLICT"}}`))
	})
	s := sender(t, peer.Config{Client: client(t, url, outward.Limits{}), Discovery: record(url)})
	r := s.Send(t.Context(), "b.test", outgoing(t, "bob@b.test"))[0]
	if r.State != amtp.Failed || r.Code != amtp.CodeMessageIDConflict || len(requests) != 2 {
		t.Errorf("%+v, %d requests", r, len(requests))
	}
}

// A gateway that names others whatever it is asked is asked twice, not for ever.
func TestAnswerThatAlwaysNamesOthers(t *testing.T) {
	t.Parallel()
	requests := make(chan struct{}, 100)
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		requests <- struct{}{}
		_, _ = w.Write([]byte(`{"recipients":[{"address":"x@b.test","status":"delivered"}]}`))
	})
	s := sender(t, peer.Config{Client: client(t, url, outward.Limits{}), Discovery: record(url)})
	got := briefs(s.Send(t.Context(), "b.test", outgoing(t, "bob@b.test", "eve@b.test")))
	if diff := cmp.Diff([]brief{{State: amtp.Delivered, HTTP: 200}, {State: amtp.Delivered, HTTP: 200}}, got); diff != "" {
		t.Error(diff)
	}
	if len(requests) != 3 {
		t.Errorf("%d requests", len(requests))
	}
}

// Once a gateway has not answered, it gets no further requests of the same message.
func TestDeadGatewayIsAskedOnce(t *testing.T) {
	t.Parallel()
	for status, untried := range map[int]bool{503: true, 429: true, 403: false} {
		requests := make(chan struct{}, 100)
		url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			requests <- struct{}{}
			w.WriteHeader(status)
		})
		s := sender(t, peer.Config{Client: client(t, url, outward.Limits{}), Discovery: record(url), Signer: signs{}})
		results := s.Send(t.Context(), "b.test", outgoing(t, "bob@b.test", "eve@b.test"))
		if results[0].Untried || results[1].Untried != untried || (len(requests) == 1) != untried {
			t.Errorf("%d: %+v, %d requests", status, results, len(requests))
		}
	}
}

// More recipients than fit into one request go in several, and none is lost at a
// gateway that knows keys only.
func TestManyRecipientsOfOneDomain(t *testing.T) {
	t.Parallel()
	a := newAgentry()
	url := serve(t, a.ServeHTTP)
	var to []string
	for i := range 25 {
		to = append(to, fmt.Sprintf("r%d@b.test", i))
	}
	s := sender(t, peer.Config{Client: client(t, url, outward.Limits{}), Discovery: record(url), Limits: peer.Limits{Group: 10}})
	for _, r := range s.Send(t.Context(), "b.test", outgoing(t, to...)) {
		if r.State != amtp.Delivered {
			t.Errorf("%+v", r)
		}
	}
	for _, r := range to {
		if diff := cmp.Diff(map[string]int{id: 1}, a.inbox(r)); diff != "" {
			t.Errorf("%s: %s", r, diff)
		}
	}
}

// 1,000 messages with two recipients each to a gateway with agentry's rule, signed and
// not: none is lost, none comes twice.
func TestThousandMessagesToAgentry(t *testing.T) {
	t.Parallel()
	for name, signer := range map[string]peer.Signer{"unsigned": nil, "signed": signs{}} {
		a := newAgentry()
		url := serve(t, a.ServeHTTP)
		s := sender(t, peer.Config{Client: client(t, url, outward.Limits{}), Discovery: record(url), Signer: signer})
		var workers sync.WaitGroup
		for w := range 10 {
			workers.Go(func() {
				for i := range 100 {
					m, err := amtp.Parse(fmt.Appendf(nil, `{"version":"1.0","sender":"user@a.test","recipients":["bob@b.test"],"payload":%d}`, w*100+i), amtp.Rules{})
					if err != nil {
						t.Error(err)
						return
					}
					for _, r := range s.Send(t.Context(), "b.test", peer.Outgoing{MessageID: m.MessageID, Document: m.Document(), Recipients: []string{"bob@b.test", "eve@b.test"}}) {
						if r.State != amtp.Delivered {
							t.Errorf("%+v", r)
						}
					}
				}
			})
		}
		workers.Wait()
		for _, to := range []string{"bob@b.test", "eve@b.test"} {
			box := a.inbox(to)
			if len(box) != 1000 {
				t.Errorf("%s: %s has %d messages", name, to, len(box))
			}
			for id, n := range box {
				if n != 1 {
					t.Errorf("%s: %s has %s %d times", name, to, id, n)
				}
			}
		}
	}
}

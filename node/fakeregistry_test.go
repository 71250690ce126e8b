package node

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/identity"
	"amesh/internal/dialled"
	"amesh/registry/certificate"
	rwire "amesh/registry/wire"
)

// hall is an amesh registry in memory, as far as nodes use one. It verifies who writes,
// like the real one, and lies about what it has as a test wants.
type hall struct {
	t   *testing.T
	url string
	srv *httptest.Server

	mu      sync.Mutex
	agents  map[string]rwire.RegisterRequest
	status  map[string]rwire.Status
	objects map[string][]byte // kind/AMID: records, cards, revocations
	keys    map[string][][]byte
	// lie, when set, is asked for what is given instead of a signed object.
	lie func(kind string, raw []byte) []byte
	// twice has it hand out the same one-time keys again and again.
	twice bool
	tier  rwire.Tier // of whom it describes; empty: anonymous
	// issuer signs certificates, certificate is shown of whom it describes; nil, empty: none.
	issuer      *certificate.Issuer
	certificate string
	compacts    map[string][]byte // what a knock can show, by AMID
	calls       map[string]int
	heard       chan struct{} // closed and made anew with every call
}

func newHall(t *testing.T) *hall {
	t.Helper()
	h := &hall{t: t, agents: map[string]rwire.RegisterRequest{}, status: map[string]rwire.Status{}, objects: map[string][]byte{},
		keys: map[string][][]byte{}, calls: map[string]int{}, heard: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/registry/register", h.register)
	mux.HandleFunc("POST /v1/registry/status", h.setStatus)
	mux.HandleFunc("POST /v1/registry/capabilities", h.signed(func(string, []byte) (int, any) { return 200, rwire.Done{Success: true} }))
	mux.HandleFunc("GET /v1/registry/lookup", h.lookup)
	mux.HandleFunc("GET /v1/amesh/revocations", h.departed)
	mux.HandleFunc("POST /v1/amesh/revocations", h.takeStatement)
	mux.HandleFunc("GET /v1/amesh/certificates/root", h.root)
	mux.HandleFunc("GET /v1/amesh/certificates/{amid}", h.compact)
	mux.HandleFunc("GET /v1/amesh/crl", h.crl)
	mux.HandleFunc("POST /v1/amesh/one-time-keys/{amid}", h.bring)
	mux.HandleFunc("POST /v1/amesh/one-time-keys/{amid}/take", h.take)
	mux.HandleFunc("GET /v1/amesh/search", h.search)
	for _, kind := range []string{"records", "cards"} {
		mux.HandleFunc("PUT /v1/amesh/"+kind+"/{amid}", h.put(kind))
		mux.HandleFunc("GET /v1/amesh/"+kind+"/{amid}", h.get(kind))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		sayJSON(w, 404, rwire.Errorf(404, rwire.CodeNoRoute, "no such endpoint"))
	})
	h.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r)
		h.mu.Lock()
		defer h.mu.Unlock()
		_, pattern := mux.Handler(r)
		h.calls[pattern]++
		close(h.heard)
		h.heard = make(chan struct{})
	}))
	t.Cleanup(h.srv.Close)
	h.url = h.srv.URL
	return h
}

func sayJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// signed is a route that takes nothing without a signature over the whole request.
func (h *hall) signed(do func(who string, body []byte) (int, any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			h.t.Error(err)
		}
		p, err := rwire.VerifyRequest(r, body, dialled.Names{r.Host}, time.Now())
		if err != nil {
			h.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
			sayJSON(w, 401, err)
			return
		}
		h.mu.Lock()
		status, answer := do(p.AMID.String(), body)
		h.mu.Unlock()
		sayJSON(w, status, answer)
	}
}

func (h *hall) register(w http.ResponseWriter, r *http.Request) {
	h.signed(func(who string, body []byte) (int, any) {
		var b rwire.RegisterRequest
		if err := json.Unmarshal(body, &b); err != nil || b.AMID != who || b.Signature != "" {
			h.t.Errorf("register: %s", body)
		}
		_, known := h.agents[who]
		h.agents[who] = b
		if known {
			return 409, rwire.RegisterReply{Updated: true, Code: rwire.CodeConflict, Error: "AMID already registered"}
		}
		return 201, rwire.RegisterReply{Success: true, AMID: who, Tier: rwire.TierAnonymous}
	})(w, r)
}

func (h *hall) setStatus(w http.ResponseWriter, r *http.Request) {
	h.signed(func(who string, body []byte) (int, any) {
		var b rwire.StatusRequest
		if err := json.Unmarshal(body, &b); err != nil {
			h.t.Error(err)
		}
		h.status[who] = b.Status
		return 200, rwire.Done{Success: true}
	})(w, r)
}

func (h *hall) put(kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.signed(func(who string, body []byte) (int, any) {
			if who != r.PathValue("amid") {
				return 403, rwire.Errorf(403, rwire.CodeForbidden, "not yours")
			}
			h.objects[kind+"/"+who] = body
			return 200, map[string]any{}
		})(w, r)
	}
}

func (h *hall) get(kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		raw := h.objects[kind+"/"+r.PathValue("amid")]
		if h.lie != nil && raw != nil {
			raw = h.lie(kind, append([]byte(nil), raw...))
		}
		h.mu.Unlock()
		if raw == nil {
			sayJSON(w, 404, rwire.NotFound("nothing"))
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(raw)
	}
}

func (h *hall) lookup(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	who := r.URL.Query().Get("amid")
	b, ok := h.agents[who]
	if !ok {
		sayJSON(w, 404, rwire.NotFound("Agent not found"))
		return
	}
	tier := h.tier
	if tier == "" {
		tier = rwire.TierAnonymous
	}
	sayJSON(w, 200, rwire.LookupReply{Certificate: h.certificate, ReputationStatus: rwire.Unrated, Agent: rwire.Agent{
		AMID: who, Tier: tier, DisplayName: b.DisplayName, SigningPublicKey: b.SigningPublicKey, ExchangePublicKey: b.ExchangePublicKey,
		Capabilities: b.Capabilities, RelayEndpoint: b.RelayEndpoint, Status: h.status[who], ReputationScore: 0.5, LastSeen: rwire.Time{Time: time.Now()},
	}})
}

func (h *hall) root(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.issuer == nil {
		sayJSON(w, 404, rwire.Errorf(404, rwire.CodeNoRoute, "no such endpoint"))
		return
	}
	sayJSON(w, 200, rwire.RootReply{RootKey: h.issuer.Root().Text()})
}

func (h *hall) compact(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	raw := h.compacts[r.PathValue("amid")]
	if raw == nil {
		sayJSON(w, 404, rwire.NotFound("no certificate"))
		return
	}
	sayJSON(w, 200, rwire.CertificateReply{AMID: r.PathValue("amid"), Compact: rwire.EncodeBase64(raw)})
}

func (h *hall) crl(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	raw, err := h.issuer.IssueList(1, nil)
	if err != nil {
		h.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(raw)
}

func (h *hall) search(w http.ResponseWriter, _ *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	page := rwire.SearchPage{Items: []rwire.SearchRow{}}
	for who, b := range h.agents {
		row := rwire.SearchRow{AMID: who, Capabilities: b.Capabilities, Tier: "anonymous", Reputation: 0.7, Online: h.status[who] == rwire.StatusOnline}
		if b.DisplayName != nil {
			row.Name = *b.DisplayName
		}
		page.Items = append(page.Items, row)
	}
	sayJSON(w, 200, page)
}

func (h *hall) takeStatement(w http.ResponseWriter, r *http.Request) {
	var b rwire.StatementRequest
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
		h.t.Error(err)
	}
	raw, err := rwire.DecodeBase64(b.Statement)
	if err != nil {
		h.t.Error(err)
	}
	v, err := identity.ParseRevocation(raw)
	if err != nil {
		h.t.Error(err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.objects["revocations/"+v.AMID.String()] = raw
	sayJSON(w, 200, map[string]any{"success": true})
}

func (h *hall) departed(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	feed := rwire.RevocationFeed{Changes: []rwire.RevocationChange{}}
	for name, raw := range h.objects {
		if who, ok := strings.CutPrefix(name, "revocations/"); ok {
			feed.Changes = append(feed.Changes, rwire.RevocationChange{AMID: who, Revoked: true, Statement: base64.StdEncoding.EncodeToString(raw)})
		}
	}
	sayJSON(w, 200, feed)
}

func (h *hall) bring(w http.ResponseWriter, r *http.Request) {
	h.signed(func(who string, body []byte) (int, any) {
		var b struct{ Keys [][]byte }
		if err := json.Unmarshal(body, &b); err != nil {
			h.t.Error(err)
		}
		h.keys[who] = append(h.keys[who], b.Keys...)
		left := map[string]int{"x25519": 0, "kem": 0}
		for _, raw := range h.keys[who] {
			left[kindName(raw)]++
		}
		return 200, left
	})(w, r)
}

// kindName tells the kinds of signed one-time keys apart by their size.
func kindName(raw []byte) string {
	if len(raw) > 1000 {
		return "kem"
	}
	return "x25519"
}

func (h *hall) take(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	who := r.PathValue("amid")
	given := map[string][]byte{}
	var rest [][]byte
	for _, raw := range h.keys[who] {
		if kind := kindName(raw); given[kind] == nil {
			given[kind] = raw
			if !h.twice {
				continue
			}
		}
		rest = append(rest, raw)
	}
	h.keys[who] = rest
	sayJSON(w, 200, given)
}

// until waits for something that calls bring about.
func (h *hall) until(what string, ok func() bool) {
	h.t.Helper()
	for {
		h.mu.Lock()
		done, heard := ok(), h.heard
		h.mu.Unlock()
		if done {
			return
		}
		select {
		case <-heard:
		case <-time.After(20 * time.Second):
			h.t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// has waits until the registry has everything of an agent.
func (h *hall) has(amid identity.AMID) {
	h.t.Helper()
	h.until("record, keys and presence of "+amid.Short(), func() bool {
		return h.objects["records/"+amid.String()] != nil && len(h.keys[amid.String()]) > 0 && h.status[amid.String()] == rwire.StatusOnline
	})
}

package gateway_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// world is the gateways of the recordings, by the first letter of the name that the
// recordings have for them, and a server that is no gateway of ours.
//
//	A  a.local, without admin keys and schemas; knows the gateways of b.local and the server
//	B  b.local
//	C  localhost, with the admin key test-admin-key-1 and schemas, pipeline and negotiation on
//	D  a.local, with a database
//	M  a.local, in memory
//	F  b.local, on which ways to send to two recipients were tried
type world struct {
	url       map[string]string
	foreign   *foreign
	workflows bool // the gateways run them
}

// records is what A is told of the domains in the recordings.
func (w *world) records() map[string]string {
	return map[string]string{
		"a.local":      "v=amtp1;gateway=" + w.url["A"] + ";auth=apikey;max-size=10485760;features=agent-discovery",
		"b.local":      "v=amtp1;gateway=" + w.url["B"],
		"hook.local":   "v=amtp1;gateway=" + w.foreign.URL + ";auth=apikey",
		"noauth.local": "v=amtp1;gateway=" + w.foreign.URL,
		"small.local":  "v=amtp1;gateway=" + w.foreign.URL + ";max-size=100",
		"dead.local":   "v=amtp1;gateway=http://127.0.0.1:1",
		"localhost":    "v=amtp1;gateway=" + w.url["C"],
	}
}

// foreign stands for other people's servers. It answers what it is told to and keeps
// what it got.
type foreign struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	got    []foreignRequest
}

type foreignRequest struct {
	Path   string
	Header http.Header
	Body   []byte
}

func newForeign(t *testing.T) *foreign {
	f := &foreign{status: http.StatusOK}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.got = append(f.got, foreignRequest{r.URL.Path, r.Header.Clone(), body})
		status := f.status
		f.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, `{"message_id":"x","status":"delivered","recipients":[]}`)
	}))
	t.Cleanup(f.Close)
	return f
}

// answers sets what it answers from now on.
func (f *foreign) answers(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
}

// last is the last request whose body contains text.
func (f *foreign) last(text string) (foreignRequest, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.got) - 1; i >= 0; i-- {
		if strings.Contains(string(f.got[i].Body), text) {
			return f.got[i], true
		}
	}
	return foreignRequest{}, false
}

// before are the requests that were made before a recorded one, as far as it needs them:
// the recordings are a part. What they answer is looked at only where id is set: that is
// the recorded message_id to which the answer's is bound.
var before = map[string][]setup{
	"060-schema-list-pattern-readme.json": {{gw: "C", body: `{"id":"agntcy:test.garbage.v1","definition":{"type":"object"}}`, path: "/v1/admin/schemas"}},
	"070-schema-validate-ok.json": {
		{gw: "C", method: "PUT", path: "/v1/admin/schemas/agntcy:test.message.v1", body: `{"definition":` + messageSchema + `}`},
		{gw: "C", method: "PUT", path: "/v1/admin/schemas/agntcy:test.message.v3", body: `{"definition":` + messageSchema + `}`},
	},
	"101-unregister.json": {{gw: "C", path: "/v1/admin/agents", body: `{"address":"badurl","delivery_mode":"pull"}`}},
	"115-send-same-id-new-key.json": {{gw: "A", path: "/v1/messages",
		body: `{"sender":"test@a.local","recipients":["user@a.local"],"subject":"s","payload":{"own":1},"message_id":"01a1f841-9a4c-7ee2-8487-c997dcba6713","idempotency_key":"03a760c1-1129-45a6-83e4-9adca5a6b6aa"}`}},
	"120-send-idem-3-other-body.json": {{gw: "A", path: "/v1/messages", id: "01a1f841-9a4f-7d5a-944b-40b25537a5e1",
		body: `{"sender":"test@a.local","recipients":["user@a.local"],"subject":"s","payload":{"i":1},"idempotency_key":"39b10fd8-13f8-4676-8301-65ad7c4dbb51"}`}},
	"155-coord-parallel-status.json": {
		{gw: "A", path: "/v1/admin/agents", body: `{"address":"boss","delivery_mode":"pull"}`},
		{gw: "A", path: "/v1/admin/agents", body: `{"address":"p1","delivery_mode":"pull","api_key":"KEYOF p1"}`},
		{gw: "A", path: "/v1/admin/agents", body: `{"address":"p2","delivery_mode":"pull"}`},
		{gw: "A", path: "/v1/messages", id: "01a1f841-9e65-7b22-9ce8-b7cf5dacc6d9",
			body: `{"sender":"boss@a.local","recipients":["p1@a.local","p2@a.local"],"payload":{"do":"it"},"coordination":{"type":"parallel","timeout":60,"required_responses":["p1@a.local"],"optional_responses":["p2@a.local"]}}`},
	},
	"166-federate-a-to-b.json": {{gw: "B", path: "/v1/admin/agents", body: `{"address":"eve","delivery_mode":"pull","api_key":"KEYOF eve"}`}},
	"180-outbound-delivery-full.json": {{gw: "A", path: "/v1/messages", body: `{"sender":"user@a.local","recipients":["z@hook.local"],"subject":"S","schema":"agntcy:test.message.v1",` +
		`"headers":{"priority":"high"},"payload":{"out":1},"attachments":[{"filename":"f.pdf","content_type":"application/pdf","size":3,"hash":"sha256:abc123","url":"https://x.test/f"}]}`}},
	"185-outbound-peer-500x3.json": {{foreign: 500}},
	"186-outbound-peer-dead.json":  {{foreign: 200}},
	"187-outbound-peer-202.json":   {{foreign: 202}},
	"190-outbound-push.json": {
		{foreign: 200},
		{gw: "A", path: "/v1/admin/agents", body: `{"address":"pusher","delivery_mode":"push","push_target":"FOREIGN/hook","headers":{"Authorization":"Bearer t","X-Agent-Id":"svc"}}`},
		{gw: "A", path: "/v1/messages", body: `{"sender":"test@a.local","recipients":["pusher@a.local"],"subject":"s","payload":{"p":1}}`},
	},
	"191-send-push-500.json":     {{foreign: 500}},
	"192-options-preflight.json": {{foreign: 200}},
	"306-db-send-same-message-id.json": {{gw: "D", path: "/v1/messages",
		body: `{"sender":"t@a.local","recipients":["dbu@a.local"],"payload":{"a":1},"message_id":"01a1f848-10b1-7fe9-8c0b-cbceff8a9b37","idempotency_key":"f8e02b5d-51a6-42d9-8c4d-9c85def24239"}`}},
	"327-db-mem-inbox-after-timeout.json": {{gw: "M", path: "/v1/admin/agents", body: `{"address":"boss","delivery_mode":"pull","api_key":"KEYOF boss"}`}},
	"401-fanout-same-id-same-key-bob.json": {
		{gw: "F", path: "/v1/admin/agents", body: `{"address":"bob","delivery_mode":"pull","api_key":"mNrefHN255DPrEuTGL5h_cDf_sea_2blxcXX-cmH3XM"}`},
		{gw: "F", path: "/v1/admin/agents", body: `{"address":"eve","delivery_mode":"pull","api_key":"ZLerXLv2QP-0Iu4Qxku1NHULWawlU8ZKIxSlbAwOS1c"}`},
	},
	"410-fanout-new-id-new-key-eve.json": {{gw: "F", path: "/v1/messages",
		body: `{"version":"1.0","message_id":"01a1f84b-450a-7072-b54b-8a1fed01b667","idempotency_key":"6933a9ae-4065-4131-94e9-b47a4c4effe8","timestamp":"2026-11-20T09:30:44Z","sender":"x@foreign.test","recipients":["bob@b.local"],"payload":{"t":"C"}}`}},
	"415-fanout-D-inbox-eve.json": {{gw: "F", path: "/v1/messages",
		body: `{"version":"1.0","message_id":"01a1f84b-450c-7876-b3c1-37e72f26e2d0","idempotency_key":"826f700f-7372-4868-b4e4-7b71e85c7a94","timestamp":"2026-11-20T09:30:44Z","sender":"x@foreign.test","recipients":["bob@b.local","eve@b.local"],"payload":{"t":"D"}}`}},
}

// messageSchema is what agntcy:test.message.v1 said when payloads were judged by it.
const messageSchema = `{"type":"object","properties":{"text":{"type":"string"},"timestamp":{"type":"string","format":"date-time"},"priority":{"type":"integer","minimum":1,"maximum":5}},"required":["text"]}`

// keysOf are the API keys that agents had whose registration was not recorded: they are
// registered with them.
var keysOf = map[string]string{}

// setup is one such request, a POST unless it says else; or what the foreign server is
// to answer from now on.
type setup struct {
	gw, method, path, body, id string
	foreign                    int
}

func (s setup) do(t *testing.T, w *world, bind *binding) {
	t.Helper()
	if s.foreign != 0 {
		w.foreign.answers(s.foreign)
		return
	}
	body := s.body
	for agent, key := range keysOf {
		body = strings.ReplaceAll(body, "KEYOF "+agent, key)
	}
	body = strings.ReplaceAll(body, "FOREIGN", w.foreign.URL)
	if !w.workflows {
		body = withoutCoordination(t, body)
	}
	method := s.method
	if method == "" {
		method = http.MethodPost
	}
	status, _, answer := exchange(t, method, w.url[s.gw]+s.path, body, map[string]string{"X-Admin-Key": goldenAdminKey})
	if status >= 300 {
		t.Fatalf("%s %s %s: %d %s", method, s.path, body, status, answer)
	}
	if s.id != "" {
		var made struct {
			MessageID string `json:"message_id"`
		}
		if err := json.Unmarshal(answer, &made); err != nil {
			t.Fatal(err)
		}
		bind.same(s.id, made.MessageID)
	}
}

func withoutCoordination(t *testing.T, body string) string {
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	if m["coordination"] == nil {
		return body
	}
	delete(m, "coordination")
	b, _ := json.Marshal(m)
	return string(b)
}

// exchange makes one request.
func exchange(t *testing.T, method, url, body string, headers map[string]string) (int, http.Header, []byte) {
	t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, content)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, answer
}

package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/gatewaytest"
	"amesh/gateway/schema"

	"github.com/miekg/dns"
)

// The tests TestB001… are the conformance checklist, one for each of its rows: what an
// AMTP gateway answers to HTTP requests, asked of gateways with safe defaults unless a
// row says otherwise.

// rows is how many the checklist has, elsewhere are those that have no test here, and
// where it is, or why there is none.
const rows = 116

var elsewhere = map[int]string{
	12: "mail is not spoken yet",
	66: "testnet/lab/agentry, TestWithAgentryItsConsoleManagesOurs",
	96: workflowRow, 97: workflowRow, 98: workflowRow, 99: workflowRow, 100: workflowRow,
	101: workflowRow, 102: workflowRow, 103: workflowRow, 104: workflowRow,
	108: "mail is not spoken yet",
	109: "attachments are not fetched yet",
	113: "there are no policy files yet",
	114: "there is no audit chain yet",
	116: "a day of load is for a machine of its own",
}

const workflowRow = "workflows are not run yet"

func TestEveryRowOfTheChecklistHasATest(t *testing.T) {
	files, err := filepath.Glob("conformance_*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`func (TestB[0-9]{3})`).FindAllStringSubmatch(string(text), -1) {
			found[name[1]] = true
		}
	}
	for row := 1; row <= rows; row++ {
		if name := fmt.Sprintf("TestB%03d", row); found[name] == (elsewhere[row] != "") {
			t.Errorf("row %d: %s there: %v, elsewhere: %q", row, name, found[name], elsewhere[row])
		}
	}
}

// m is a JSON object.
type m map[string]any

// pair is a gateway with two agents of its own.
type pair struct {
	*gatewaytest.Gateway
	alice, bob *gatewaytest.Agent
}

// newPair starts the gateway of a.test with the agents alice and bob.
func newPair(t *testing.T, change func(*gateway.Config)) pair {
	t.Helper()
	g := gatewaytest.StartWith(t, change, "a.test").At("a.test")
	return pair{g, g.Register("alice"), g.Register("bob")}
}

// taken reads an answer to a message that was taken.
func taken(t *testing.T, a gatewaytest.Answer) amtp.SendResult {
	t.Helper()
	var res amtp.SendResult
	a.Into(&res)
	if res.MessageID == "" || len(res.Recipients) == 0 {
		t.Fatalf("%d: no result of a message: %s", a.Status, a.Body)
	}
	return res
}

// refused checks a refusal's status and code.
func refused(t *testing.T, what string, a gatewaytest.Answer, status int, code amtp.Code) {
	t.Helper()
	if a.Status != status || a.Code() != code {
		t.Errorf("%s: %d %s, want %d %s\n%s", what, a.Status, a.Code(), status, code, a.Body)
	}
}

// to is a message to these recipients.
func to(recipients ...string) m {
	return m{"recipients": recipients, "payload": m{"n": 1}}
}

// with returns the message with more members.
func (a m) with(more m) m {
	all := m{}
	for k, v := range a {
		all[k] = v
	}
	for k, v := range more {
		all[k] = v
	}
	return all
}

// eventually waits until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !so() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

// payloads are the payloads in an inbox, in its order.
func payloads(list []gatewaytest.Message) string {
	var all []string
	for _, x := range list {
		all = append(all, string(x.Payload))
	}
	return strings.Join(all, " ")
}

// zone is a DNS server. It counts the questions for each name.
type zone struct {
	addr string

	mu      sync.Mutex
	records map[string]zoneRecord
	asked   map[string]int
}

type zoneRecord struct {
	texts []string
	ttl   uint32
}

func newZone(t *testing.T) *zone {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{addr: conn.LocalAddr().String(), records: map[string]zoneRecord{}, asked: map[string]int{}}
	started := make(chan struct{})
	srv := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(z.serve), NotifyStartedFunc: func() { close(started) }}
	ended := make(chan error, 1)
	go func() { ended <- srv.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		srv.Shutdown()
		<-ended
	})
	return z
}

func (z *zone) serve(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	name := strings.ToLower(strings.TrimSuffix(q.Question[0].Name, "."))
	answer := new(dns.Msg)
	answer.SetReply(q)
	if q.Question[0].Qtype == dns.TypeTXT {
		z.asked[name]++
	}
	r, there := z.records[name]
	if !there {
		answer.Rcode = dns.RcodeNameError
		answer.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "test.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 3600}, Ns: "ns.test.", Mbox: "x.test.", Minttl: 3600}}
	} else if q.Question[0].Qtype == dns.TypeTXT {
		for _, text := range r.texts {
			rr := &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: r.ttl}}
			for len(text) > 255 {
				rr.Txt, text = append(rr.Txt, text[:255]), text[255:]
			}
			rr.Txt = append(rr.Txt, text)
			answer.Answer = append(answer.Answer, rr)
		}
	}
	w.WriteMsg(answer)
}

// set lets the zone say something from now on; no texts: there is no such name.
func (z *zone) set(name string, ttl uint32, texts ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.records, name)
	if len(texts) > 0 {
		z.records[name] = zoneRecord{texts, ttl}
	}
}

func (z *zone) count(name string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[name]
}

// real makes a gateway ask DNS.
func (z *zone) real(c *gateway.Config) {
	c.Discovery.Mock, c.Discovery.MockRecords = false, nil
	c.Discovery.Resolvers = []string{z.addr}
}

// withSchemas gives a gateway schemas, in its own database.
func withSchemas(c *gateway.Config) {
	c.Registry = gateway.SchemaRows
	c.Schemas.Negotiation = schema.Negotiation{Enabled: true, Fallback: schema.FallbackLatest}
}

// peerServer stands for another gateway, or for an agent's webhook.
type peerServer struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(n int, w http.ResponseWriter, r *http.Request, body []byte)
	got    []foreignRequest
}

// newPeer starts one that answers 200 with nothing, or what answer writes to the n-th
// request, counted from 1.
func newPeer(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request, body []byte)) *peerServer {
	t.Helper()
	p := &peerServer{answer: answer}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		p.got = append(p.got, foreignRequest{r.URL.Path, r.Header.Clone(), body})
		n := len(p.got)
		p.mu.Unlock()
		if p.answer != nil {
			p.answer(n, w, r, body)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *peerServer) requests() []foreignRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]foreignRequest(nil), p.got...)
}

// accepts answers a delivery as a gateway does that has put it into all inboxes.
func accepts(status int, state amtp.State) func(int, http.ResponseWriter, *http.Request, []byte) {
	return func(_ int, w http.ResponseWriter, _ *http.Request, body []byte) {
		var in struct {
			MessageID  string `json:"message_id"`
			Recipients []string
		}
		_ = json.Unmarshal(body, &in) // what is no message gets an empty answer
		res := amtp.SendResult{MessageID: in.MessageID, Status: state}
		for _, r := range in.Recipients {
			res.Recipients = append(res.Recipients, amtp.RecipientStatus{Address: r, Status: state, Attempts: 1})
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(res)
	}
}

// answers answers with a status and no body.
func answers(status int) func(int, http.ResponseWriter, *http.Request, []byte) {
	return func(_ int, w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(status) }
}

// knows adds records to those that a gateway takes in place of DNS.
func knows(records map[string]string) func(*gateway.Config) {
	return func(c *gateway.Config) {
		for domain, text := range records {
			c.Discovery.MockRecords[domain] = text
		}
	}
}

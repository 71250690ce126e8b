package gateway_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/auth"
	"amesh/gateway/delivery"
	"amesh/gateway/discovery"
	"amesh/gateway/gatewaytest"
	"amesh/gateway/signature"
	"amesh/gateway/store"
	"amesh/internal/outward"
)

func TestB081AMessageArrivesAtAnotherDomainAsItWasSent(t *testing.T) {
	t.Parallel()
	n := gatewaytest.Start(t, "a.test", "b.test")
	alice, bob := n.At("a.test").Register("alice"), n.At("b.test").Register("bob")
	there := m{"subject": "S <1>", "payload": json.RawMessage(`{"a":[1,2.50,"é"],"b":null}`),
		"in_reply_to": otherID, "headers": m{"priority": "high"}, "response_type": "note"}
	for _, way := range []struct{ from, to *gatewaytest.Agent }{{alice, bob}, {bob, alice}} {
		id, key := amtp.NewMessageID(time.Now()), amtp.NewKey()
		message := there.with(m{"recipients": []string{way.to.Address}, "message_id": id, "idempotency_key": key})
		if st := way.from.Settled(taken(t, way.from.Post(message)).MessageID); st.Status != amtp.Delivered {
			t.Fatalf("got %+v", st)
		}
		inbox := way.to.Inbox()
		if len(inbox) != 1 {
			t.Fatalf("inbox %+v", inbox)
		}
		got := inbox[0]
		if got.MessageID != id || got.IdempotencyKey != key || got.Sender != way.from.Address || got.Subject != "S <1>" || got.InReplyTo != otherID ||
			string(got.Payload) != `{"a":[1,2.50,"é"],"b":null}` || string(got.Headers) != `{"priority":"high"}` || got.ResponseType != "note" {
			t.Errorf("got %+v", got)
		}
	}
}

func TestB082TwoRecipientsAtOneDomainBothReceive(t *testing.T) {
	t.Parallel()
	n := gatewaytest.Start(t, "a.test", "b.test")
	alice, bob, eve := n.At("a.test").Register("alice"), n.At("b.test").Register("bob"), n.At("b.test").Register("eve")
	alice.Settled(taken(t, alice.Post(to(bob.Address, eve.Address))).MessageID)
	if len(bob.Inbox()) != 1 || len(eve.Inbox()) != 1 {
		t.Errorf("bob has %d, eve %d", len(bob.Inbox()), len(eve.Inbox()))
	}

	// agentry sends one POST for each recipient, under the same id and key.
	for _, recipient := range []string{bob.Address, eve.Address, bob.Address} {
		n.At("b.test").Do(http.MethodPost, "/v1/messages", to(recipient).with(m{"sender": "x@foreign.test", "message_id": otherID, "idempotency_key": someKey})).Want(http.StatusOK)
	}
	if len(bob.Inbox()) != 2 || len(eve.Inbox()) != 2 {
		t.Errorf("one by one: bob has %d, eve %d", len(bob.Inbox()), len(eve.Inbox()))
	}
}

func TestB083OfThreeDomainsOneIsDown(t *testing.T) {
	t.Parallel()
	n := gatewaytest.StartWith(t, quick, "a.test", "b.test", "c.test", "d.test")
	alice := n.At("a.test").Register("alice")
	var others []*gatewaytest.Agent
	for _, domain := range []string{"b.test", "c.test", "d.test"} {
		others = append(others, n.At(domain).Register("bob"))
	}
	n.At("d.test").Stop()
	id := taken(t, alice.Post(to(others[0].Address, others[1].Address, others[2].Address))).MessageID
	eventually(t, "two have it, one waits", func() bool {
		var states []amtp.State
		for _, r := range alice.Status(id).Recipients {
			if r.Address == others[2].Address {
				states = append(states, r.Status)
			}
		}
		return len(others[0].Inbox()) == 1 && len(others[1].Inbox()) == 1 && len(states) == 1 && states[0] == amtp.Retrying
	})
	n.At("d.test").Start()
	eventually(t, "the third has it", func() bool { return alice.Status(id).Status == amtp.Delivered })
	for _, a := range others {
		if inbox := a.Inbox(); len(inbox) != 1 || inbox[0].MessageID != id {
			t.Errorf("%s has %+v", a.Address, inbox)
		}
	}
}

func TestB084RefusalsAreFinalAndTheRestIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusRequestEntityTooLarge} {
		peer := newPeer(t, answers(status))
		p := toPeer(t, peer, quick)
		st := p.alice.Settled(p.alice.Send("u@x.test", `{}`).MessageID)
		if n := len(peer.requests()); st.Status != amtp.Failed || n != 1 || st.Recipients[0].ErrorCode == "" {
			t.Errorf("%d: %d requests, %+v", status, n, st)
		}
	}
	for _, status := range []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		peer := newPeer(t, failing(2, status))
		p := toPeer(t, peer, quick)
		st := p.alice.Settled(p.alice.Send("u@x.test", `{}`).MessageID)
		if n := len(peer.requests()); st.Status != amtp.Delivered || n != 3 {
			t.Errorf("%d: %d requests, %+v", status, n, st)
		}
	}
	p := toPeer(t, newPeer(t, func(_ int, w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("Retry-After", "1800")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	id := p.alice.Send("u@x.test", `{}`).MessageID
	var st amtp.MessageStatus
	eventually(t, "it is tried again", func() bool { st = p.alice.Status(id); return st.Status == amtp.Retrying })
	if wait := time.Until(*st.NextRetry); wait < 25*time.Minute || wait > 31*time.Minute {
		t.Errorf("Retry-After is half an hour, and the next try in %s", wait)
	}
}

func TestB085WhatAPeerTookOverIsNotYetDelivered(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(int, http.ResponseWriter, *http.Request, []byte){
		"queued there": accepts(http.StatusAccepted, amtp.Queued), "without a word": answers(http.StatusAccepted),
	} {
		peer := newPeer(t, answer)
		p := toPeer(t, peer, quick)
		st := p.alice.Settled(p.alice.Send("u@x.test", `{}`).MessageID)
		if r := st.Recipients[0]; r.Status != amtp.Delivering || st.Status != amtp.Delivering || len(peer.requests()) != 1 {
			t.Errorf("%s: %d requests, %+v", name, len(peer.requests()), st)
		}
	}
}

// childVariable has the arguments of the gateway in another process.
const childVariable = "AMESH_TEST_GATEWAY"

// A gateway that can be killed: the test's own program, started once more.
func TestChildGateway(t *testing.T) {
	args := strings.Split(os.Getenv(childVariable), "|")
	if len(args) != 3 {
		t.Skip("SKIP: this is no test, but what TestB086 kills")
	}
	runChild(t, args[0], args[1], args[2])
}

func TestB086AKilledGatewayDeliversAfterItsStart(t *testing.T) {
	t.Parallel()
	up := make(chan struct{})
	peer := newPeer(t, func(n int, w http.ResponseWriter, r *http.Request, body []byte) {
		select {
		case <-up:
			accepts(http.StatusOK, amtp.Delivered)(n, w, r, body)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	dir, address := t.TempDir(), freeAddress(t)
	start := func() *exec.Cmd {
		t.Helper()
		cmd := exec.Command(os.Args[0], "-test.run=^TestChildGateway$")
		cmd.Env = append(os.Environ(), childVariable+"="+strings.Join([]string{dir, address, peer.URL}, "|"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the child is ready", func() bool {
			resp, err := http.Get("http://" + address + "/ready")
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
		return cmd
	}
	kill := func(cmd *exec.Cmd) {
		t.Helper()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
	}
	first := start()
	admin := map[string]string{"X-Admin-Key": goldenAdminKey}
	keys := make(map[string]string)
	for _, name := range []string{"alice", "bob"} {
		var made registeredAgent
		_, _, body := exchange(t, http.MethodPost, "http://"+address+agentsPath, `{"address":"`+name+`","delivery_mode":"pull"}`, admin)
		if err := json.Unmarshal(body, &made); err != nil {
			t.Fatalf("%s", body)
		}
		keys[name] = made.Agent.APIKey
	}
	as := func(name string) map[string]string { return map[string]string{"Authorization": "Bearer " + keys[name]} }
	status, _, body := exchange(t, http.MethodPost, "http://"+address+"/v1/messages",
		`{"sender":"alice@a.test","recipients":["bob@a.test","u@x.test"],"payload":{"n":1},"message_id":"`+someID+`"}`, as("alice"))
	if status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	kill(first)
	close(up)
	second := start()
	defer kill(second)
	eventually(t, "it is delivered", func() bool {
		_, _, body := exchange(t, http.MethodGet, "http://"+address+"/v1/messages/"+someID+"/status", "", as("alice"))
		var st amtp.MessageStatus
		return json.Unmarshal(body, &st) == nil && st.Status == amtp.Delivered
	})
	_, _, body = exchange(t, http.MethodGet, "http://"+address+"/v1/inbox/bob@a.test", "", as("bob"))
	var page inboxOf
	if err := json.Unmarshal(body, &page); err != nil || len(page.Messages) != 1 || page.Messages[0].MessageID != someID {
		t.Errorf("inbox %s", body)
	}
}

// runChild runs a gateway until it is killed.
func runChild(t *testing.T, dir, address, peer string) {
	keys := filepath.Join(dir, "admin.keys")
	write(t, keys, goldenAdminKey+"\n")
	cfg := gateway.Config{
		Domain: "a.test", Admins: auth.NewAdminKeys(keys, time.Now),
		Open: func(ctx context.Context) (*store.Store, error) {
			return store.Open(ctx, filepath.Join(dir, "gateway.db"))
		},
		Discovery: discovery.Config{Mock: true, MockRecords: map[string]string{"x.test": "v=amtp1;gateway=" + peer}, AllowHTTP: true},
		Peers:     outward.Config{HTTP: true, Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	}
	quick(&cfg)
	s, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	go func() { t.Error(s.Serve(context.Background(), l, nil)) }()
	t.Fatal(s.Run(context.Background()))
}

func TestB087WhatIsGivenUpIsADeadLetterAndTold(t *testing.T) {
	t.Parallel()
	peer := newPeer(t, answers(http.StatusServiceUnavailable))
	p := toPeer(t, peer, quick, func(c *gateway.Config) { c.Delivery.MaxAge = 300 * time.Millisecond })
	id := taken(t, p.alice.Post(m{"recipients": []string{"u@x.test"}, "payload": 1, "subject": "S"})).MessageID
	st := p.alice.Settled(id)
	if r := st.Recipients[0]; st.Status != amtp.Failed || r.ErrorCode == "" || r.ErrorMessage == "" || r.Attempts == 0 {
		t.Errorf("got %+v", st)
	}
	var dead struct {
		Deliveries []struct {
			MessageID string `json:"message_id"`
			Recipient string
			ErrorCode amtp.Code `json:"error_code"`
		}
	}
	p.Admin(http.MethodGet, "/v1/admin/deadletters", nil).Want(http.StatusOK).Into(&dead)
	if len(dead.Deliveries) != 1 || dead.Deliveries[0].MessageID != id || dead.Deliveries[0].Recipient != "u@x.test" || dead.Deliveries[0].ErrorCode == "" {
		t.Errorf("dead letters %+v", dead)
	}
	eventually(t, "the sender is told", func() bool { return len(p.alice.Inbox()) == 1 })
	notice := p.alice.Inbox()[0]
	if notice.InReplyTo != id || notice.ResponseType != delivery.NoticeType || !strings.Contains(string(notice.Payload), "u@x.test") {
		t.Errorf("notice %+v", notice)
	}
}

func TestB088ARedirectToAnotherHostIsRefused(t *testing.T) {
	t.Parallel()
	other := newPeer(t, accepts(http.StatusOK, amtp.Delivered))
	for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		peer := newPeer(t, func(_ int, w http.ResponseWriter, r *http.Request, _ []byte) {
			http.Redirect(w, r, other.URL+"/v1/messages", status)
		})
		p := toPeer(t, peer, func(c *gateway.Config) { c.Delivery = delivery.Limits{MinRetry: time.Hour, MaxRetry: time.Hour} })
		id := p.alice.Send("u@x.test", `{}`).MessageID
		eventually(t, "it went wrong", func() bool { return p.alice.Status(id).Recipients[0].ErrorCode != "" })
	}
	if n := len(other.requests()); n != 0 {
		t.Errorf("%d requests went on", n)
	}
}

func TestB089APrivateAddressIsNotContacted(t *testing.T) {
	t.Parallel()
	peer := newPeer(t, accepts(http.StatusOK, amtp.Delivered))
	p := toPeer(t, peer, func(c *gateway.Config) { c.Peers.Allowed = nil })
	id := p.alice.Send("u@x.test", `{}`).MessageID
	eventually(t, "T80: it is blocked", func() bool { return p.alice.Status(id).Recipients[0].ErrorCode == amtp.CodeSSRFBlocked })
	if n := len(peer.requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestB090APeersLimitIsHonoured(t *testing.T) {
	t.Parallel()
	peer := newPeer(t, accepts(http.StatusOK, amtp.Delivered))
	p := newPair(t, knows(map[string]string{"x.test": "v=amtp1;max-size=1000;gateway=" + peer.URL}))
	st := p.alice.Settled(p.alice.Send("u@x.test", `"`+strings.Repeat("x", 1000)+`"`).MessageID)
	if r := st.Recipients[0]; st.Status != amtp.Failed || r.ErrorCode != amtp.CodeMessageTooLarge || len(peer.requests()) != 0 {
		t.Errorf("got %+v after %d requests", st, len(peer.requests()))
	}
	if st := p.alice.Settled(p.alice.Send("u@x.test", `"small"`).MessageID); st.Status != amtp.Delivered {
		t.Errorf("got %+v", st)
	}
}

func TestB091WhatWeSignIsTakenWhereSignaturesAreRequired(t *testing.T) {
	t.Parallel()
	key, err := signature.Generate("k1")
	if err != nil {
		t.Fatal(err)
	}
	n := gatewaytest.StartWith(t, func(c *gateway.Config) {
		c.Discovery.MockRecords["k1._amtpkey.a.test"] = key.Record()
		switch c.Domain {
		case "a.test":
			c.Signer = signature.FixedRing(key)
		case "b.test":
			c.Auth.Verify = signature.Reject
		}
	}, "a.test", "b.test", "c.test")
	alice, bob, eve := n.At("a.test").Register("alice"), n.At("b.test").Register("bob"), n.At("b.test").Register("eve")
	id := taken(t, alice.Post(to(bob.Address, eve.Address))).MessageID
	if st := alice.Settled(id); st.Status != amtp.Delivered || len(bob.Inbox()) != 1 || len(eve.Inbox()) != 1 {
		t.Errorf("got %+v; bob has %d, eve %d", st, len(bob.Inbox()), len(eve.Inbox()))
	}
	carol := n.At("c.test").Register("carol")
	if st := carol.Settled(carol.Send(bob.Address, `{}`).MessageID); st.Status != amtp.Failed || st.Recipients[0].ErrorCode != amtp.CodeSignatureRequired {
		t.Errorf("unsigned: %+v", st)
	}
}

// signedGateway is a gateway for whose senders at north.test a key is published.
type signedGateway struct {
	*gatewaytest.Gateway
	bob *gatewaytest.Agent
	key *signature.Key
}

func newSigned(t *testing.T, policy signature.Policy) signedGateway {
	t.Helper()
	key, err := signature.Generate("k1")
	if err != nil {
		t.Fatal(err)
	}
	g := gatewaytest.StartWith(t, func(c *gateway.Config) {
		c.Auth.Verify = policy
		c.Discovery.MockRecords["k1._amtpkey.north.test"] = key.Record()
	}, "a.test").At("a.test")
	return signedGateway{g, g.Register("bob"), key}
}

func (s signedGateway) sign(t *testing.T, text string) string {
	t.Helper()
	signed, err := s.key.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

// north is a message of x@north.test to bob, in the one form of RFC 8785, without its
// last brace.
const north = `{"idempotency_key":"` + someKey + `","message_id":"` + someID + `","payload":{"n":1},` +
	`"recipients":["bob@a.test"],"sender":"x@north.test","timestamp":"2026-11-20T09:00:00Z","version":"1.0"`

func TestB092RS256AndES256AreVerified(t *testing.T) {
	t.Parallel()
	s := newSigned(t, signature.Reject)
	s.Do(http.MethodPost, "/v1/messages", s.sign(t, north+"}")).Want(http.StatusOK)

	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	record := "v=amtpkey1;alg=RS256;p=" + base64.StdEncoding.EncodeToString(der)
	if len(record) <= 255 {
		t.Fatal("the record fits one string")
	}
	z := newZone(t)
	z.set("r._amtpkey.north.test", 60, record)
	g := gatewaytest.StartWith(t, func(c *gateway.Config) { z.real(c); c.Auth.Verify = signature.Reject }, "a.test").At("a.test")
	bob := g.Register("bob")
	digest := sha256.Sum256([]byte(north + "}"))
	value, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	g.Do(http.MethodPost, "/v1/messages", north+`,"signature":{"algorithm":"RS256","keyid":"r","value":"`+base64.RawURLEncoding.EncodeToString(value)+`"}}`).Want(http.StatusOK)
	if len(bob.Inbox()) != 1 {
		t.Error("the inbox is empty")
	}
}

func TestB093SignaturesThatDoNotHold(t *testing.T) {
	t.Parallel()
	flag, reject := newSigned(t, signature.Flag), newSigned(t, signature.Reject)
	z := newZone(t)
	another, err := signature.Generate("k1")
	if err != nil {
		t.Fatal(err)
	}
	z.set("k1._amtpkey.north.test", 60, flag.key.Record(), another.Record())
	double := gatewaytest.StartWith(t, func(c *gateway.Config) { z.real(c); c.Auth.Verify = signature.Reject }, "a.test").At("a.test")
	double.Register("bob")
	replace := func(old, new string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, new, 1) }
	}
	for name, c := range map[string]struct {
		change func(string) string
		result amtp.Result
		code   amtp.Code
		status int
	}{
		"right":           {replace("", ""), amtp.Verified, "", http.StatusOK},
		"tampered":        {replace(`"n":1`, `"n":2`), amtp.Invalid, amtp.CodeSignatureInvalid, http.StatusForbidden},
		"missing":         {func(s string) string { return s[:strings.Index(s, `,"signature"`)] + "}" }, amtp.Unsigned, amtp.CodeSignatureRequired, http.StatusUnauthorized},
		"no such key":     {replace(`"keyid":"k1"`, `"keyid":"k9"`), amtp.KeyUnavailable, amtp.CodeSignatureKeyUnavailable, http.StatusServiceUnavailable},
		"no selector":     {replace(`"keyid":"k1"`, `"keyid":"K.1"`), amtp.Invalid, amtp.CodeSignatureInvalid, http.StatusForbidden},
		"other algorithm": {replace(`"ES256"`, `"RS256"`), amtp.Invalid, amtp.CodeSignatureInvalid, http.StatusForbidden},
	} {
		fresh := strings.NewReplacer(someID, amtp.NewMessageID(time.Now()), someKey, amtp.NewKey()).Replace(north + "}")
		if c.code != "" {
			refused(t, name, reject.Do(http.MethodPost, "/v1/messages", c.change(reject.sign(t, fresh))), c.status, c.code)
		}
		res := taken(t, flag.Do(http.MethodPost, "/v1/messages", c.change(flag.sign(t, fresh))).Want(http.StatusOK))
		var st amtp.MessageStatus
		flag.bob.Do(http.MethodGet, "/v1/messages/"+res.MessageID+"/status", nil).Want(http.StatusOK).Into(&st)
		if v := st.Verification; v == nil || v.Domain != "north.test" || v.Policy != "flag" || v.Result != c.result {
			t.Errorf("%s: flagged as %+v", name, v)
		}
	}
	refused(t, "two records", double.Do(http.MethodPost, "/v1/messages", flag.sign(t, north+"}")), http.StatusServiceUnavailable, amtp.CodeSignatureKeyUnavailable)
	if n := len(reject.bob.Inbox()); n != 0 {
		t.Errorf("%d messages came in", n)
	}
}

func TestB094ASpoofedLocalSenderIsRefused(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	spoofed := to(p.bob.Address).with(m{"sender": p.alice.Address})
	refused(t, "without a key", p.Do(http.MethodPost, "/v1/messages", spoofed), http.StatusUnauthorized, amtp.CodeLocalSenderAuthRequired)
	refused(t, "with another's", p.bob.Post(spoofed), http.StatusForbidden, amtp.CodeSenderCredentialMismatch)
	refused(t, "with a wrong one", p.Do(http.MethodPost, "/v1/messages", spoofed, "Authorization", "Bearer nope"), http.StatusForbidden, amtp.CodeSenderCredentialMismatch)
	refused(t, "T86: another domain with an agent's key", p.bob.Post(to(p.alice.Address).with(m{"sender": "x@north.test"})), http.StatusForbidden, amtp.CodeSenderDomainMismatch)
	refused(t, "a stranger to a stranger", p.Do(http.MethodPost, "/v1/messages", to("u@x.test").with(m{"sender": "x@north.test"})), http.StatusForbidden, amtp.CodeRelayUnsupported)
	if len(p.bob.Inbox())+len(p.alice.Inbox()) != 0 {
		t.Error("something came in")
	}
}

func TestB095AReplayedSignedBodyIsOneMessage(t *testing.T) {
	t.Parallel()
	s := newSigned(t, signature.Reject)
	body := s.sign(t, strings.Replace(north, "2026-11-20", "2020-01-01", 1)+"}")
	for range 3 {
		if res := taken(t, s.Do(http.MethodPost, "/v1/messages", body).Want(http.StatusOK)); res.MessageID != someID {
			t.Errorf("got %s", res.MessageID)
		}
	}
	if inbox := s.bob.Inbox(); len(inbox) != 1 {
		t.Errorf("inbox %+v", inbox)
	}
}

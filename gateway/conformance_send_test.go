package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/gatewaytest"
)

const (
	someID  = "0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01"
	otherID = "0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e02"
	someKey = "6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0aa"
)

func TestB017AMinimalMessageIsTaken(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	res := taken(t, p.alice.Post(to(p.bob.Address)).Want(http.StatusOK))
	if res.Status != amtp.Delivered || len(p.bob.Inbox()) != 1 {
		t.Errorf("got %+v", res)
	}
}

func TestB018AMessageWithoutAnIDGetsOne(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	if _, err := amtp.CheckMessageID(taken(t, p.alice.Post(to(p.bob.Address))).MessageID); err != nil {
		t.Error(err)
	}
}

func TestB019AGivenIDIsKept(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	res := taken(t, p.alice.Post(to(p.bob.Address).with(m{"message_id": someID})))
	if res.MessageID != someID || p.bob.Inbox()[0].MessageID != someID {
		t.Errorf("got %s", res.MessageID)
	}
}

func TestB020AVersion4IDIsRefusedOrMapped(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	refused(t, "strict", p.alice.Post(to(p.bob.Address).with(m{"message_id": someKey})), http.StatusBadRequest, amtp.CodeValidationFailed)

	p = newPair(t, func(c *gateway.Config) { c.Lenient = true })
	message := to(p.bob.Address).with(m{"message_id": someKey, "timestamp": "2026-11-20T09:00:00Z"})
	first, again := taken(t, p.alice.Post(message)), taken(t, p.alice.Post(message))
	if _, err := amtp.CheckMessageID(first.MessageID); err != nil || again.MessageID != first.MessageID {
		t.Errorf("mapped to %s, then to %s", first.MessageID, again.MessageID)
	}
	p.alice.Post(to(p.alice.Address).with(m{"schema": "acme:order.v1"})).Want(http.StatusOK) // the SDK's prefix, not AGNTCY's
	inbox := p.bob.Inbox()
	if len(inbox) != 1 || !strings.Contains(string(inbox[0].Headers), `"`+amtp.OriginalIDHeader+`":"`+someKey+`"`) {
		t.Errorf("inbox %+v", inbox)
	}
}

func TestB021AKeyOfAnotherShapeIsRefused(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for _, key := range []string{"abc", someID, "6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0zz"} {
		refused(t, key, p.alice.Post(to(p.bob.Address).with(m{"idempotency_key": key})), http.StatusBadRequest, amtp.CodeMessageValidationFailed)
	}
}

func TestB022SameKeySameBody(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	message := to(p.bob.Address).with(m{"idempotency_key": someKey})
	first, again := taken(t, p.alice.Post(message)), taken(t, p.alice.Post(message))
	if first.MessageID != again.MessageID || again.Status != amtp.Delivered || len(p.bob.Inbox()) != 1 {
		t.Errorf("%s, then %s; inbox %s", first.MessageID, again.MessageID, payloads(p.bob.Inbox()))
	}
}

func TestB023SameKeyOtherBody(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	message := to(p.bob.Address).with(m{"idempotency_key": someKey})
	first := taken(t, p.alice.Post(message))
	refused(t, "T84", p.alice.Post(message.with(m{"subject": "other"})), http.StatusConflict, amtp.CodeIdempotencyConflict)

	p = newPair(t, func(c *gateway.Config) { c.FirstAnswer = true })
	first = taken(t, p.alice.Post(message))
	again := taken(t, p.alice.Post(message.with(m{"subject": "other"})).Want(http.StatusOK))
	if again.MessageID != first.MessageID || len(p.bob.Inbox()) != 1 {
		t.Errorf("as agentry: %s, then %s", first.MessageID, again.MessageID)
	}
}

func TestB024SameKeyOtherSender(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	carol := p.Register("carol")
	message := to(carol.Address).with(m{"idempotency_key": someKey})
	if a, b := taken(t, p.alice.Post(message)), taken(t, p.bob.Post(message)); a.MessageID == b.MessageID || len(carol.Inbox()) != 2 {
		t.Errorf("%s and %s", a.MessageID, b.MessageID)
	}
}

func TestB025SameKeyAfterARestart(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	message := to(p.bob.Address).with(m{"idempotency_key": someKey})
	first := taken(t, p.alice.Post(message))
	p.Stop()
	p.Start()
	again := taken(t, p.alice.Post(message).Want(http.StatusOK))
	if again.MessageID != first.MessageID || len(p.bob.Inbox()) != 1 {
		t.Errorf("%s, then %s", first.MessageID, again.MessageID)
	}
	refused(t, "other body", p.alice.Post(message.with(m{"subject": "other"})), http.StatusConflict, amtp.CodeIdempotencyConflict)
}

// clock is a time that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestB026AKeyOlderThanItsTimeIsNew(t *testing.T) {
	t.Parallel()
	time := newClock()
	p := newPair(t, func(c *gateway.Config) { c.Clock = time.Now })
	message := to(p.bob.Address).with(m{"idempotency_key": someKey})
	first := taken(t, p.alice.Post(message))
	time.forward(167 * 3600e9)
	if again := taken(t, p.alice.Post(message)); again.MessageID != first.MessageID {
		t.Error("forgotten after 167 h")
	}
	time.forward(2 * 3600e9)
	if again := taken(t, p.alice.Post(message)); again.MessageID == first.MessageID {
		t.Error("still known after 169 h")
	}
}

func TestB027SixteenAtOnceWithOneKeyAreOneMessage(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	message := to(p.bob.Address).with(m{"idempotency_key": someKey})
	ids := make([]string, 16)
	var posting sync.WaitGroup
	for i := range ids {
		posting.Go(func() {
			var res amtp.SendResult
			got := p.alice.Post(message)
			if got.Status != http.StatusOK {
				t.Errorf("%d %s", got.Status, got.Body)
				return
			}
			got.Into(&res)
			ids[i] = res.MessageID
		})
	}
	posting.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("%s and %s", id, ids[0])
		}
	}
	if n := len(p.bob.Inbox()); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestB028EqualMessagesWithoutAKeyCountAsOneForAWhileOnly(t *testing.T) {
	t.Parallel()
	time := newClock()
	p := newPair(t, func(c *gateway.Config) { c.Clock, c.DerivedWindow = time.Now, 5*60e9 })
	first := taken(t, p.alice.Post(to(p.bob.Address)))
	time.forward(4 * 60e9)
	if again := taken(t, p.alice.Post(to(p.bob.Address))); again.MessageID != first.MessageID {
		t.Error("within the window: two messages")
	}
	time.forward(6 * 60e9)
	if again := taken(t, p.alice.Post(to(p.bob.Address))); again.MessageID == first.MessageID || len(p.bob.Inbox()) != 2 {
		t.Error("after the window: one message")
	}

	p = newPair(t, nil)
	a, b := taken(t, p.alice.Post(to(p.bob.Address))), taken(t, p.alice.Post(to(p.bob.Address)))
	if a.MessageID == b.MessageID {
		t.Error("without a window: one message")
	}
}

func TestB029AnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	refused(t, "member", p.alice.Post(to(p.bob.Address).with(m{"version": "9.9"})), http.StatusBadRequest, amtp.CodeUnsupportedVersion)
	refused(t, "header", p.alice.Post(to(p.bob.Address), "X-AMTP-Version", "9.9"), http.StatusBadRequest, amtp.CodeUnsupportedVersion)
	p.alice.Post(to(p.bob.Address), "X-AMTP-Version", "1.0").Want(http.StatusOK)
}

func TestB030AGarbageTimestampIsRefused(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	refused(t, "garbage", p.alice.Post(to(p.bob.Address).with(m{"timestamp": "yesterday"})), http.StatusBadRequest, amtp.CodeInvalidTimestamp)
}

func TestB031UnknownMembersAreIgnoredAndSigned(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.alice.Post(to(p.bob.Address).with(m{"zzz": m{"a": 1}})).Want(http.StatusOK)

	s := newSigned(t, "reject")
	text := s.sign(t, `{"version":"1.0","message_id":"`+someID+`","idempotency_key":"`+someKey+`","timestamp":"2026-11-20T09:00:00Z",`+
		`"sender":"x@north.test","recipients":["bob@a.test"],"payload":{},"zzz":{"a":1}}`)
	s.Do(http.MethodPost, "/v1/messages", strings.Replace(text, `{"a":1}`, `{"a":2}`, 1)).Want(http.StatusForbidden)
	s.Do(http.MethodPost, "/v1/messages", text).Want(http.StatusOK)
}

func TestB032RecipientsAndSendersAreBareAddresses(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for name, message := range map[string]m{
		"none":               {"payload": 1},
		"empty":              to(),
		"no domain":          to("bob"),
		"display name":       to("Bob <bob@a.test>"),
		"quoted":             to(`"bob"@a.test`),
		"not ASCII":          to("böb@a.test"),
		"address literal":    to("bob@[127.0.0.1]"),
		"one of two":         to("bob@a.test", "nope"),
		"sender with a name": to("bob@a.test").with(m{"sender": "Alice <alice@a.test>"}),
		"sender empty":       to("bob@a.test").with(m{"sender": ""}),
	} {
		refused(t, name, p.alice.Post(message), http.StatusBadRequest, amtp.CodeValidationFailed)
	}
	if inbox := p.bob.Inbox(); len(inbox) != 0 {
		t.Errorf("inbox %s", payloads(inbox))
	}
}

func TestB033ARecipientTwiceIsOne(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	res := taken(t, p.alice.Post(to("bob@a.test", "bob@A.TEST", "bob@a.test.", "BOB@a.test")).Want(http.StatusOK))
	if len(res.Recipients) != 1 || len(p.bob.Inbox()) != 1 {
		t.Errorf("recipients %+v", res.Recipients)
	}
}

func TestB034APayloadIsAnyValue(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for _, payload := range []string{`"text"`, `12.50`, `[1,"x",null]`, `null`, `true`, `{"a":"<&>"}`} {
		p.alice.Do(http.MethodPost, "/v1/messages", `{"sender":"alice@a.test","recipients":["bob@a.test"],"payload":`+payload+`}`).Want(http.StatusOK)
	}
	if got, want := payloads(p.bob.Inbox()), `"text" 12.50 [1,"x",null] null true {"a":"<&>"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// text is a message of alice to bob with these members more, as text.
func text(members string) string {
	return `{"sender":"alice@a.test","recipients":["bob@a.test"],"payload":{}` + members + `}`
}

func TestB035AMemberTwiceIsRefused(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for _, body := range []string{text(`,"sender":"bob@a.test"`), text(`,"headers":{"a":1,"\u0061":2}`)} {
		refused(t, body, p.alice.Do(http.MethodPost, "/v1/messages", body), http.StatusBadRequest, amtp.CodeInvalidRequestFormat)
	}
}

func TestB036TrailingDataIsRefused(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	for _, tail := range []string{"{}", "x", `,"a":1`} {
		refused(t, tail, p.alice.Do(http.MethodPost, "/v1/messages", text("")+tail), http.StatusBadRequest, amtp.CodeInvalidRequestFormat)
	}
}

// unsized hides how long a body is, so that it is sent in chunks.
type unsized struct{ *strings.Reader }

func (u unsized) Read(p []byte) (int, error) { return u.Reader.Read(p) }

func TestB037ATooLongMessageIs413HoweverItIsSent(t *testing.T) {
	t.Parallel()
	p := newPair(t, func(c *gateway.Config) {
		c.Limits = gateway.DefaultLimits()
		c.Limits.MessageBytes = 10 << 10
	})
	long := text(`,"subject":"x","zzz":"` + strings.Repeat("x", 10<<10) + `"`)
	refused(t, "by length", p.alice.Do(http.MethodPost, "/v1/messages", long), http.StatusRequestEntityTooLarge, amtp.CodePayloadTooLarge)
	refused(t, "in chunks", p.alice.Do(http.MethodPost, "/v1/messages", unsized{strings.NewReader(long)}), http.StatusRequestEntityTooLarge, amtp.CodePayloadTooLarge)
	p.alice.Do(http.MethodPost, "/v1/messages", text(`,"zzz":"`+strings.Repeat("x", 9<<10)+`"`)).Want(http.StatusOK)
}

func TestB038AgentrysOutboundFormIsTaken(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	body := `{"version":"1.0","message_id":"%s","idempotency_key":"%s","timestamp":"2026-11-20T09:20:12Z","sender":"u@north.test","recipients":["bob@a.test"],` +
		`"subject":"","schema":"","coordination":null,"headers":null,"payload":{"out":2},"attachments":null,"signature":null,"in_reply_to":"","response_type":""}`
	res := taken(t, p.Do(http.MethodPost, "/v1/messages", fmt.Sprintf(body, someID, someKey)).Want(http.StatusOK))
	if inbox := p.bob.Inbox(); res.MessageID != someID || len(inbox) != 1 || inbox[0].IdempotencyKey != someKey {
		t.Errorf("got %+v, inbox %+v", res, inbox)
	}
	p.Do(http.MethodPost, "/v1/messages", strings.Replace(fmt.Sprintf(body, "", ""), "2026-11-20T09:20:12Z", "0001-01-01T00:00:00Z", 1)).Want(http.StatusOK)
}

func TestB039ErrorsHaveAllTheirMembersAndTheRequestsID(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	got := p.alice.Do(http.MethodPost, "/v1/messages", `{`, "X-Request-ID", "mine-1")
	e := got.Error()
	if e.Code != amtp.CodeInvalidRequestFormat || e.Message == "" || e.Timestamp.IsZero() || e.RequestID != "mine-1" ||
		e.Details["amtp_code"] != "INVALID_MESSAGE_FORMAT" || got.Header.Get("X-Request-ID") != "mine-1" {
		t.Errorf("got %s, id %q", got.Body, got.Header.Get("X-Request-ID"))
	}
	minted := p.Do(http.MethodGet, "/health", nil).Header.Get("X-Request-ID")
	if _, err := amtp.CheckKey(minted); err != nil {
		t.Errorf("minted %q", minted)
	}
}

func TestB040UnknownPathsAre404AndWrongMethods405(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	refused(t, "path", p.Do(http.MethodGet, "/v1/nothing", nil), http.StatusNotFound, amtp.CodeNotFound)
	got := p.Do(http.MethodDelete, "/v1/messages", nil)
	refused(t, "method", got, http.StatusMethodNotAllowed, amtp.CodeMethodNotAllowed)
	if allow := got.Header.Get("Allow"); !strings.Contains(allow, "POST") || !strings.Contains(allow, "GET") {
		t.Errorf("Allow: %q", allow)
	}
}

func TestB041OfAGoodAndABadRecipientTheGoodOneGetsIt(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	res := taken(t, p.alice.Post(to("bob@a.test", "ghost@a.test")).Want(http.StatusBadRequest))
	if res.Status != amtp.Failed || len(p.bob.Inbox()) != 1 {
		t.Errorf("got %+v", res)
	}
	for _, r := range res.Recipients {
		if good := r.Address == "bob@a.test"; good && r.Status != amtp.Delivered || !good && (r.Status != amtp.Failed || r.ErrorCode != amtp.CodeAgentUnknown) {
			t.Errorf("got %+v", r)
		}
	}

	p = newPair(t, func(c *gateway.Config) { c.StatusCodes = gateway.AsSpec })
	p.alice.Post(to("bob@a.test", "ghost@a.test")).Want(http.StatusAccepted)
}

func TestB042OurDomainInAnyCaseIsOurs(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	res := taken(t, p.alice.Post(to("bob@A.Test")).Want(http.StatusOK))
	if res.Recipients[0].Address != "bob@a.test" || len(p.bob.Inbox()) != 1 {
		t.Errorf("got %+v", res)
	}
}

func TestB043AnUnknownNameIsUnknownOrWaited(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	res := taken(t, p.alice.Post(to("ghost@a.test")).Want(http.StatusBadRequest))
	if r := res.Recipients[0]; r.Status != amtp.Failed || r.ErrorCode != amtp.CodeAgentUnknown || r.ErrorMessage == "" {
		t.Errorf("got %+v", r)
	}

	p = newPair(t, func(c *gateway.Config) { c.TakeUnknown = true })
	taken(t, p.alice.Post(to("ghost@a.test")).Want(http.StatusOK))
	var ghost *gatewaytest.Agent = p.Register("ghost")
	if len(ghost.Inbox()) != 1 {
		t.Error("an agent that came later has an empty inbox")
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/gateway/amtp"
	"amesh/internal/sqldb/sqltest"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

var kit = sqltest.New(func(url string) error {
	s, err := Open(context.Background(), url)
	if err != nil {
		return err
	}
	return s.Close()
})

func TestMain(m *testing.M) { goleak.VerifyTestMain(kit.Main(m)) }

func TestStore(t *testing.T)             { kit.SQLite(t, cases) }
func TestWithPostgresStore(t *testing.T) { kit.Postgres(t, cases) }

var cases = sqltest.Cases{
	"a pull message is in the inbox when it is accepted":        testPull,
	"T84: a key counts once":                                    testKey,
	"T84: a key counts after a restart":                         testKeyAfterRestart,
	"a key counts no more when its time is over":                testKeyExpires,
	"sixteen posts with one key are one message":                testSixteen,
	"an id is of one message":                                   testID,
	"a fan-out with one id and key reaches every recipient":     testFanOut,
	"a message has so many recipients at most":                  testFull,
	"a recipient that failed is tried again under the same key": testRevive,
	"one bad message fails no other":                            testNeighbours,
	"a job is leased once, and again when its lease is over":    testLease,
	"jobs leased together keep apart and in order":              testLeaseMany,
	"recipients of one domain are one job":                      testGroups,
	"outcomes are written down":                                 testFinish,
	"who fetches by now finds what was to be pushed":            testInboxInsteadOfPush,
	"what is delivered stays so":                                testLate,
	"a notice is accepted with its outcome":                     testNotice,
	"a failure after the delivery has no notice":                testLateNotice,
	"dead letters are listed, redriven and purged":              testDeadLetters,
	"a heap is changed in calls that end":                       testHeap,
	"an inbox is paged, oldest first":                           testInbox,
	"an acknowledgement leaves the other copies":                testAck,
	"a reply is found":                                          testReply,
	"messages are listed, newest first":                         testList,
	"what has ended is forgotten, and nothing else":             testSweep,
	"what is accepted comes back as it was":                     testDocument,
	"changes are told after the commit":                         testOnChange,
	"agents are kept":                                           testAgents,
	"a new agent reads nothing of an earlier one of its name":   testNamesake,
	"schemas, keys and domains are kept":                        testAdmin,
	"two stores on one database do not disturb each other":      testTwoStores,
	"a file is one store's at a time":                           testOneStore,
}

var noon = time.Date(2026, 11, 20, 12, 0, 0, 123456000, time.UTC)

// running opens a store and runs it.
func running(t *testing.T, url string) *Store {
	t.Helper()
	s, stop := start(t, url)
	t.Cleanup(stop)
	return s
}

func start(t *testing.T, url string) (*Store, func()) {
	t.Helper()
	s, err := Open(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, Options{Failed: func(err error) { t.Error(err) }}) }()
	return s, sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
}

// message makes a message with members given as JSON.
func message(t *testing.T, members ...string) *amtp.Message {
	t.Helper()
	body := `{"sender":"ann@a.test","recipients":["bob@b.test"]`
	for _, m := range members {
		body += "," + m
	}
	m, err := amtp.Parse([]byte(body+"}"), amtp.Rules{Now: noon})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const (
	id1  = "0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01"
	id3  = "0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e03"
	id2  = "0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e02"
	key1 = "6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0a1"
	key2 = "6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0a2"
)

func key(k string) string  { return `"idempotency_key":"` + k + `"` }
func id(i string) string   { return `"message_id":"` + i + `"` }
func says(s string) string { return `"payload":"` + s + `"` }

func address(s string) amtp.Address {
	local, domain, _ := strings.Cut(s, "@")
	return amtp.Address{Local: local, Domain: domain}
}

func pull(s string) NewRecipient {
	return NewRecipient{Address: address(s), Mode: Pull, State: amtp.Delivered}
}
func remote(s string) NewRecipient {
	return NewRecipient{Address: address(s), Mode: Remote, State: amtp.Queued}
}
func push(s string) NewRecipient {
	return NewRecipient{Address: address(s), Mode: Push, State: amtp.Queued}
}
func none(s string) NewRecipient {
	return NewRecipient{Address: address(s), State: amtp.Failed, Code: amtp.CodeAgentUnknown, Text: "nobody"}
}

func newMessage(m *amtp.Message, to ...NewRecipient) NewMessage {
	return NewMessage{Message: m, Origin: m.Sender.Domain, KeyTTL: time.Hour, Accepted: noon, Recipients: to}
}

func accept(t *testing.T, s *Store, n NewMessage) Receipt {
	t.Helper()
	r, err := s.Accept(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func inbox(t *testing.T, s *Store, who string) []string {
	t.Helper()
	p, err := s.Inbox(t.Context(), who, Page{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{}
	for _, m := range p.Messages {
		ids = append(ids, m.MessageID)
	}
	return ids
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: -want +got\n%s", what, diff)
	}
}

// states are what became of a message's recipients.
func statesOf(t *testing.T, s *Store, id string) map[string]amtp.State {
	t.Helper()
	st, err := s.Status(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]amtp.State{}
	for _, r := range st.Recipients {
		all[r.Address] = r.Status
	}
	return all
}

func testPull(t *testing.T, url string) {
	s := running(t, url)
	m := message(t, id(id1), key(key1))
	r := accept(t, s, newMessage(m, pull("Bob@b.test")))
	at := noon
	want := amtp.MessageStatus{
		MessageID: id1, Status: amtp.Delivered, Attempts: 1, CreatedAt: noon, UpdatedAt: noon, DeliveredAt: &at,
		Recipients: []amtp.RecipientStatus{{
			Address: "Bob@b.test", Status: amtp.Delivered, Timestamp: noon, Attempts: 1, DeliveryMode: amtp.ModePull, LocalDelivery: true,
			InboxDelivered: true,
		}},
	}
	same(t, "receipt", Receipt{MessageID: id1, Status: want}, r)
	got, err := s.Status(t.Context(), id1)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "status", want, got)
	same(t, "inbox", []string{id1}, inbox(t, s, "bob@B.test"))
	if _, due, err := s.NextDue(t.Context()); due || err != nil {
		t.Errorf("a pull message is in the queue: %v", err)
	}
}

func testKey(t *testing.T, url string) {
	s := running(t, url)
	first := accept(t, s, newMessage(message(t, key(key1), says("one")), pull("bob@b.test")))
	again := accept(t, s, newMessage(message(t, key(key1), says("one")), pull("bob@b.test")))
	if again.MessageID != first.MessageID || !again.Repeated {
		t.Errorf("again: %+v", again)
	}
	same(t, "answers", first.Status, again.Status)
	_, err := s.Accept(t.Context(), newMessage(message(t, key(key1), says("two")), pull("bob@b.test")))
	if !errors.Is(err, ErrKeyConflict) {
		t.Errorf("other content: %v", err)
	}
	lax := newMessage(message(t, key(key1), says("two")), pull("bob@b.test"))
	lax.FirstAnswer = true
	if r := accept(t, s, lax); r.MessageID != first.MessageID || !r.Repeated {
		t.Errorf("other content, first answer: %+v", r)
	}
	same(t, "inbox", []string{first.MessageID}, inbox(t, s, "bob@b.test"))
	foreign := newMessage(message(t, key(key1), says("two")), pull("bob@b.test"))
	foreign.Origin = "unverified:a.test"
	if r := accept(t, s, foreign); r.Repeated {
		t.Error("keys of two origins met")
	}
	other := message(t, key(key1), says("two"))
	other.Sender.Local = "eve"
	if r := accept(t, s, newMessage(other, pull("bob@b.test"))); r.Repeated {
		t.Error("keys of two senders met")
	}
	if r := accept(t, s, newMessage(message(t, key(key1), says("two")), pull("cid@b.test"))); r.Repeated {
		t.Error("keys of two recipients met")
	}
}

func testKeyAfterRestart(t *testing.T, url string) {
	s, stop := start(t, url)
	first := accept(t, s, newMessage(message(t, key(key1)), pull("bob@b.test")))
	stop()
	s = running(t, url)
	again := accept(t, s, newMessage(message(t, key(key1)), pull("bob@b.test")))
	if again.MessageID != first.MessageID || !again.Repeated {
		t.Errorf("again: %+v", again)
	}
	if _, err := s.Accept(t.Context(), newMessage(message(t, key(key1), says("two")), pull("bob@b.test"))); !errors.Is(err, ErrKeyConflict) {
		t.Errorf("other content: %v", err)
	}
}

func testKeyExpires(t *testing.T, url string) {
	s := running(t, url)
	accept(t, s, newMessage(message(t, key(key1)), pull("bob@b.test")))
	late := newMessage(message(t, key(key1), says("two")), pull("bob@b.test"))
	late.Accepted = noon.Add(time.Hour - time.Microsecond)
	if _, err := s.Accept(t.Context(), late); !errors.Is(err, ErrKeyConflict) {
		t.Errorf("just before the end: %v", err)
	}
	late.Accepted = noon.Add(time.Hour)
	if r := accept(t, s, late); r.Repeated {
		t.Error("an old key still counts")
	}
	same(t, "inbox", 2, len(inbox(t, s, "bob@b.test")))
	off := newMessage(message(t, key(key2)), pull("bob@b.test"))
	off.KeyTTL = 0
	accept(t, s, off)
	off.Message = message(t, key(key2))
	if r := accept(t, s, off); r.Repeated {
		t.Error("a key counts that should not")
	}
}

func testSixteen(t *testing.T, url string) {
	s := running(t, url)
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids, fresh := map[string]bool{}, 0
	for range 16 {
		n := newMessage(message(t, key(key1)), pull("bob@b.test"), remote("cid@c.test"))
		wg.Go(func() {
			r, err := s.Accept(t.Context(), n)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if ids[r.MessageID] = true; !r.Repeated {
				fresh++
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 || fresh != 1 {
		t.Errorf("%d messages, %d of them new", len(ids), fresh)
	}
	same(t, "inbox", 1, len(inbox(t, s, "bob@b.test")))
}

func testID(t *testing.T, url string) {
	s := running(t, url)
	accept(t, s, newMessage(message(t, id(id1), key(key1), says("one")), pull("bob@b.test")))
	for name, change := range map[string]func(*NewMessage){
		"other content": func(n *NewMessage) { n.Message = message(t, id(id1), key(key2), says("two")) },
		"other origin":  func(n *NewMessage) { n.Origin = "evil.test" },
		"other sender":  func(n *NewMessage) { n.Message.Sender.Local = "eve" },
	} {
		n := newMessage(message(t, id(id1), key(key2), says("one")), pull("bob@b.test"))
		change(&n)
		if _, err := s.Accept(t.Context(), n); !errors.Is(err, ErrIDConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m, err := s.Message(t.Context(), id1)
	if err != nil || !strings.Contains(string(m.Document), `"one"`) {
		t.Errorf("what is kept: %s %v", m.Document, err)
	}
	r := accept(t, s, newMessage(message(t, id(id1), key(key2), says("one")), pull("bob@b.test")))
	if !r.Repeated {
		t.Error("the same message under another key was accepted again")
	}
}

func testFanOut(t *testing.T, url string) {
	s := running(t, url)
	bob := accept(t, s, newMessage(message(t, id(id1), key(key1)), pull("bob@b.test")))
	eve := accept(t, s, newMessage(message(t, id(id1), key(key1)), pull("eve@b.test"), remote("cid@c.test")))
	both := accept(t, s, newMessage(message(t, id(id1), key(key1)), pull("eve@b.test"), pull("bob@b.test")))
	if bob.Repeated || eve.Repeated || !both.Repeated || eve.MessageID != id1 {
		t.Errorf("%+v\n%+v\n%+v", bob, eve, both)
	}
	same(t, "order of the answer", []string{"eve@b.test", "bob@b.test"}, []string{both.Status.Recipients[0].Address, both.Status.Recipients[1].Address})
	same(t, "the answer's recipients", 2, len(eve.Status.Recipients))
	same(t, "bob's inbox", []string{id1}, inbox(t, s, "bob@b.test"))
	same(t, "eve's inbox", []string{id1}, inbox(t, s, "eve@b.test"))
	same(t, "states", map[string]amtp.State{"bob@b.test": amtp.Delivered, "eve@b.test": amtp.Delivered, "cid@c.test": amtp.Queued}, statesOf(t, s, id1))
	if jobs := lease(t, s, noon); len(jobs) != 1 || jobs[0].Target != "c.test" {
		t.Errorf("jobs %+v", jobs)
	}
}

func testFull(t *testing.T, url string) {
	s := running(t, url)
	to := make([]NewRecipient, amtp.MaxRecipients-1)
	for n := range to {
		to[n] = remote(fmt.Sprintf("u%d@b.test", n))
	}
	accept(t, s, newMessage(message(t, id(id1)), to...))
	for range 2 {
		_, err := s.Accept(t.Context(), newMessage(message(t, id(id1)), to[0], remote("x@b.test"), remote("y@b.test")))
		if !errors.Is(err, ErrFull) {
			t.Errorf("two more: %v", err)
		}
	}
	accept(t, s, newMessage(message(t, id(id1)), remote("x@b.test"), to[0]))
	if _, err := s.Accept(t.Context(), newMessage(message(t, id(id1)), remote("y@b.test"))); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	if r := accept(t, s, newMessage(message(t, id(id1)), to...)); !r.Repeated {
		t.Error("a full message that comes again is not repeated")
	}
	if st := statesOf(t, s, id1); len(st) != amtp.MaxRecipients || st["y@b.test"] != "" {
		t.Errorf("%d recipients", len(st))
	}
}

func testRevive(t *testing.T, url string) {
	s := running(t, url)
	n := newMessage(message(t, id(id1), key(key1)), none("bob@b.test"), pull("eve@b.test"))
	if r := accept(t, s, n); r.Status.Status != amtp.Failed || r.Status.Recipients[0].ErrorCode != amtp.CodeAgentUnknown {
		t.Fatalf("%+v", r)
	}
	if r := accept(t, s, n); !r.Repeated || r.Status.Status != amtp.Failed {
		t.Errorf("still nobody: %+v", r)
	}
	n.Recipients[0], n.Accepted = pull("bob@b.test"), noon.Add(time.Minute)
	r := accept(t, s, n)
	if r.Repeated || r.Status.Status != amtp.Delivered || r.Status.Recipients[0].ErrorCode != "" {
		t.Errorf("%+v", r)
	}
	same(t, "bob's inbox", []string{id1}, inbox(t, s, "bob@b.test"))
	same(t, "eve's inbox", []string{id1}, inbox(t, s, "eve@b.test"))
	got, err := s.Status(t.Context(), id1)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "status", r.Status, got)
}

func testNeighbours(t *testing.T, url string) {
	s := running(t, url)
	accept(t, s, newMessage(message(t, id(id1), key(key1), says("one")), pull("bob@b.test")))
	var wg sync.WaitGroup
	for i := range 60 {
		n := newMessage(message(t, says(fmt.Sprint(i)), key(amtp.NewKey())), pull("bob@b.test"))
		var want error
		switch i % 3 {
		case 1:
			n, want = newMessage(message(t, key(key1), says("two")), pull("bob@b.test")), ErrKeyConflict
		case 2:
			n, want = newMessage(message(t, id(id1), key(key2), says("two")), pull("bob@b.test")), ErrIDConflict
		}
		n.Recipients[0].Text = "a text \x00 that \xff no database takes"
		wg.Go(func() {
			if _, err := s.Accept(t.Context(), n); !errors.Is(err, want) {
				t.Errorf("%d: %v, want %v", i, err, want)
			}
		})
	}
	wg.Wait()
	same(t, "inbox", 21, len(inbox(t, s, "bob@b.test")))
}

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"amesh/gateway/amtp"
	"amesh/internal/sqldb"
)

// some accepts n messages a second apart, each to a recipient.
func some(t *testing.T, s *Store, n int, to ...NewRecipient) (ids []string) {
	t.Helper()
	for i := range n {
		m := newMessage(message(t, key(amtp.NewKey()), says(fmt.Sprint(i))), to...)
		m.Accepted = noon.Add(time.Duration(i) * time.Second)
		ids = append(ids, accept(t, s, m).MessageID)
	}
	return ids
}

func testInbox(t *testing.T, url string) {
	s := running(t, url)
	some(t, s, 2, pull("eve@b.test"))
	ids := some(t, s, 5, pull("bob@b.test"))
	page := func(p Page, want []string, more bool) {
		t.Helper()
		got, err := s.Inbox(t.Context(), "bob@b.test", p)
		if err != nil {
			t.Fatal(err)
		}
		list := []string{}
		for _, m := range got.Messages {
			list = append(list, m.MessageID)
		}
		same(t, fmt.Sprintf("%+v", p), append([]string{}, want...), list)
		if got.More != more {
			t.Errorf("%+v: more %v", p, got.More)
		}
	}
	page(Page{Limit: 5}, ids, false)
	page(Page{Limit: 2}, ids[:2], true)
	page(Page{Limit: 2, Offset: 3}, ids[3:], false)
	page(Page{Limit: 5, Since: noon.Add(3 * time.Second)}, ids[3:], false)
	page(Page{Limit: 2, After: ids[1]}, ids[2:4], true)
	if err := s.Ack(t.Context(), "bob@b.test", ids[1], noon); err != nil {
		t.Fatal(err)
	}
	page(Page{Limit: 2, After: ids[1]}, ids[2:4], true)
	page(Page{Limit: 2}, []string{ids[0], ids[2]}, true)
	if _, err := s.Inbox(t.Context(), "bob@b.test", Page{Limit: 1, After: id1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("after an unknown one: %v", err)
	}
	same(t, "nobody's", []string{}, inbox(t, s, "nobody@b.test"))
}

func testAck(t *testing.T, url string) {
	s := running(t, url)
	accept(t, s, newMessage(message(t, id(id1)), pull("bob@b.test"), pull("eve@b.test"), remote("cid@c.test")))
	at := noon.Add(time.Minute)
	if err := s.Ack(t.Context(), "Bob@b.test", id1, at); err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"bob@b.test", "cid@c.test", "nobody@b.test"} {
		if err := s.Ack(t.Context(), who, id1, at); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", who, err)
		}
	}
	for _, other := range []string{id2, "no id"} {
		if err := s.Ack(t.Context(), "eve@b.test", other, at); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", other, err)
		}
	}
	same(t, "bob's inbox", []string{}, inbox(t, s, "bob@b.test"))
	same(t, "eve's inbox", []string{id1}, inbox(t, s, "eve@b.test"))
	st, err := s.Status(t.Context(), id1)
	if err != nil {
		t.Fatal(err)
	}
	if r := st.Recipients[0]; !r.Acknowledged || !r.AcknowledgedAt.Equal(at) || r.Status != amtp.Delivered || st.Recipients[1].Acknowledged {
		t.Errorf("%+v", st)
	}
}

func testReply(t *testing.T, url string) {
	s := running(t, url)
	if _, err := s.Reply(t.Context(), "Ann@a.test", []string{id1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("before: %v", err)
	}
	answers := `"in_reply_to":"` + id1 + `"`
	accept(t, s, newMessage(message(t, answers, says("to another")), pull("eve@a.test")))
	notice := message(t, answers, says("failed"))
	notice.Sender.Local = "postmaster"
	accept(t, s, newMessage(notice, pull("ann@a.test")))
	first := accept(t, s, newMessage(message(t, answers, says("one")), pull("ann@a.test")))
	accept(t, s, newMessage(message(t, answers, says("two")), pull("ann@a.test")))
	for _, ids := range [][]string{{id1}, {"none", id2, id1}} {
		m, err := s.Reply(t.Context(), "Ann@a.test", ids)
		if err != nil || m.MessageID != first.MessageID {
			t.Errorf("%v: %+v %v", ids, m, err)
		}
	}
}

func testList(t *testing.T, url string) {
	s := running(t, url)
	one := some(t, s, 3, pull("bob@b.test"))
	two := some(t, s, 2, remote("cid@c.test"), none("eve@b.test"))
	three := some(t, s, 1, remote("cid@c.test"))
	from := message(t, id(id1))
	from.Sender.Local = "bob"
	four := []string{accept(t, s, newMessage(from, push("fay@a.test"))).MessageID}
	for name, c := range map[string]struct {
		q    Query
		want []string
	}{
		"all":       {Query{}, slices.Concat(one, two, three, four)},
		"delivered": {Query{Status: amtp.Delivered}, one},
		"failed":    {Query{Status: amtp.Failed}, two},
		"queued":    {Query{Status: amtp.Queued}, slices.Concat(three, four)},
		"retrying":  {Query{Status: amtp.Retrying}, nil},
		"underway":  {Query{Status: amtp.Delivering}, nil},
		"pending":   {Query{Status: amtp.Pending}, nil},
		"sender":    {Query{Sender: "bob@a.test"}, four},
		"recipient": {Query{Recipient: "CID@c.test"}, slices.Concat(two, three)},
		"party":     {Query{Party: "bob@b.test"}, one},
		"both":      {Query{Party: "cid@c.test", Status: amtp.Failed}, two},
		"since":     {Query{Since: noon.Add(time.Second)}, []string{one[1], one[2], two[1]}},
	} {
		c.q.Limit = 100
		c.want = slices.Clone(c.want)
		slices.Reverse(c.want)
		got, err := s.List(t.Context(), c.q)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, m := range got.Messages {
			ids = append(ids, m.MessageID)
		}
		same(t, name, c.want, ids)
		same(t, name, len(c.want), got.Total)
	}
	got, err := s.List(t.Context(), Query{Limit: 2, Offset: 1})
	if err != nil || got.Total != 7 || len(got.Messages) != 2 || got.Messages[0].MessageID != three[0] {
		t.Errorf("a page: %+v %v", got, err)
	}
}

func testSweep(t *testing.T, url string) {
	s := running(t, url)
	at := func(n NewMessage, ago time.Duration) string {
		n.Accepted, n.KeyTTL = noon.Add(-ago), 24*time.Hour
		return accept(t, s, n).MessageID
	}
	month := 30 * 24 * time.Hour
	msg := func() *amtp.Message { return message(t, key(amtp.NewKey())) }
	acked, unread, recent := at(newMessage(msg(), pull("bob@b.test")), 2*month), at(newMessage(msg(), pull("bob@b.test")), 2*month), at(newMessage(msg(), pull("bob@b.test")), 2*month)
	refused, waits := at(newMessage(msg(), none("eve@b.test")), 2*month), at(newMessage(msg(), remote("cid@c.test")), 2*month)
	young := at(newMessage(msg(), none("eve@b.test")), month-time.Hour)
	for id, ago := range map[string]time.Duration{acked: month + time.Hour, recent: month - time.Hour} {
		if err := s.Ack(t.Context(), "bob@b.test", id, noon.Add(-ago)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.sweep(t.Context(), noon, month); err != nil {
		t.Fatal(err)
	}
	for id, gone := range map[string]bool{acked: true, refused: true, unread: false, recent: false, waits: false, young: false} {
		if _, err := s.Message(t.Context(), id); errors.Is(err, ErrNotFound) != gone {
			t.Errorf("%s: gone %v, want %v", id, err, gone)
		}
	}
	if err := s.sweep(t.Context(), noon, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Message(t.Context(), recent); !errors.Is(err, ErrNotFound) {
		t.Errorf("with a short retention: %v", err)
	}
	k := newMessage(message(t, id(id1), key(key1)), none("eve@b.test"))
	k.Accepted, k.KeyTTL = noon.Add(-2*time.Hour), 3*time.Hour
	accept(t, s, k)
	if err := s.sweep(t.Context(), noon, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Message(t.Context(), id1); err != nil {
		t.Errorf("its key still counts: %v", err)
	}
}

func testDocument(t *testing.T, url string) {
	s := running(t, url)
	m := message(t, id(id1), key(key1), `"subject":"ä\u0000\"","headers":{"x":[1,null]},"attachments":[{"filename":"a","content_type":"b/c","size":1,"hash":"sha256:00","url":"https://x.test/"}]`)
	n := newMessage(m, pull("Bob@b.test"), remote("cid@c.test"))
	n.Origin = "unverified:a.test"
	n.Verification = &amtp.Verification{Result: amtp.Unsigned, Policy: "flag", Domain: "a.test"}
	r := accept(t, s, n)
	got, err := s.Message(t.Context(), id1)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "message", Stored{
		MessageID: id1, Origin: "unverified:a.test", Sender: "ann@a.test", Accepted: noon, Document: m.Document(),
		Recipients: []string{"Bob@b.test", "cid@c.test"}, Verification: n.Verification, Status: r.Status,
	}, got)
	if _, err := s.Message(t.Context(), id2); !errors.Is(err, ErrNotFound) {
		t.Errorf("another: %v", err)
	}
	if _, err := s.Status(t.Context(), "0192f0c1-7a10-7c3e-9d55-2b8f6f0a1eZZ"); !errors.Is(err, ErrNotFound) {
		t.Errorf("no id: %v", err)
	}
}

func testOnChange(t *testing.T, url string) {
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan []string, 10)
	s.OnChange(func(ids []string) { told <- ids })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, Options{}) }()
	defer func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
		if err := s.Finish(context.Background(), []Outcome{{MessageID: id1}}); !errors.Is(err, ErrStopped) || !Unavailable(err) {
			t.Errorf("after the end: %v", err)
		}
	}()
	accept(t, s, newMessage(message(t, id(id1), `"in_reply_to":"`+id2+`"`), pull("bob@b.test"), remote("cid@c.test")))
	same(t, "accepted", []string{id1, id2}, <-told)
	<-s.Woken()
	lease(t, s, noon)
	finish(t, s, Outcome{MessageID: id1, Address: "cid@c.test", At: noon, State: amtp.Delivered})
	same(t, "finished", []string{id1}, <-told)
	if err := s.Ack(t.Context(), "bob@b.test", id1, noon); err != nil {
		t.Fatal(err)
	}
	same(t, "acknowledged", []string{id1}, <-told)
}

// A second gateway would take the leases of the first, so it does not start.
func testOneStore(t *testing.T, url string) {
	if sqldb.IsPostgres(url) {
		t.Skip("SKIP: PostgreSQL is shared")
	}
	s, stop := start(t, url)
	if _, err := Open(t.Context(), url); !errors.Is(err, sqldb.ErrInUse) || Unavailable(err) {
		t.Fatalf("open while open: %v", err)
	}
	accept(t, s, newMessage(message(t, key(key1)), pull("bob@b.test")))
	stop()
	running(t, url)
}

func testTwoStores(t *testing.T, url string) {
	if !sqldb.IsPostgres(url) {
		t.Skip("SKIP: a file is one store's")
	}
	one, two := running(t, url), running(t, url)
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for i := range 100 {
		k := fmt.Sprintf("6c0a1c52-6c7e-4a54-8d59-51c2b1a7f%03d", i/2)
		n := newMessage(message(t, key(k)), remote("bob@b.test"))
		wg.Go(func() {
			r, err := []*Store{one, two}[i%2].Accept(t.Context(), n)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if !r.Repeated {
				fresh++
			}
		})
	}
	wg.Wait()
	same(t, "messages", 50, fresh)
	jobs := make(map[string]int)
	for _, s := range []*Store{one, two} {
		wg.Go(func() {
			for {
				list, err := s.Lease(t.Context(), LeaseRequest{Now: noon, Until: noon.Add(time.Minute), Limit: 3})
				if err != nil {
					t.Error(err)
				}
				if len(list) == 0 {
					return
				}
				mu.Lock()
				for _, j := range list {
					jobs[j.MessageID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for id, n := range jobs {
		if n != 1 {
			t.Errorf("%s was leased %d times", id, n)
		}
	}
	same(t, "jobs", 50, len(jobs))
}

package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"amesh/gateway/amtp"
)

func lease(t *testing.T, s *Store, now time.Time, except ...string) []Job {
	t.Helper()
	jobs, err := s.Lease(t.Context(), LeaseRequest{Now: now, Until: now.Add(time.Minute), Limit: 100, Except: except})
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func finish(t *testing.T, s *Store, o ...Outcome) {
	t.Helper()
	if err := s.Finish(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func testLease(t *testing.T, url string) {
	s := running(t, url)
	accept(t, s, newMessage(message(t, id(id1)), remote("bob@b.test")))
	accept(t, s, newMessage(message(t, id(id2)), push("Cid@a.test")))
	if jobs := lease(t, s, noon.Add(-time.Second)); len(jobs) != 0 {
		t.Errorf("before its time: %+v", jobs)
	}
	if jobs := lease(t, s, noon, "b.test", "x.test"); len(jobs) != 1 || jobs[0].MessageID != id2 {
		t.Errorf("but for b.test: %+v", jobs)
	}
	jobs := lease(t, s, noon)
	if len(jobs) != 1 {
		t.Fatalf("jobs %+v", jobs)
	}
	same(t, "job", Job{
		MessageID: id1, Mode: Remote, Target: "b.test", Sender: "ann@a.test", Origin: "a.test", Accepted: noon, Queued: noon,
		Document: message(t, id(id1)).Document(), Recipients: []JobRecipient{{Address: "bob@b.test"}},
	}, jobs[0])
	if jobs := lease(t, s, noon.Add(time.Minute-1000)); len(jobs) != 0 {
		t.Errorf("leased twice: %+v", jobs)
	}
	if due, ok, err := s.NextDue(t.Context()); !ok || err != nil || !due.Equal(noon.Add(time.Minute)) {
		t.Errorf("next due: %v %v %v", due, ok, err)
	}
	if jobs := lease(t, s, noon.Add(time.Minute)); len(jobs) != 2 {
		t.Errorf("after the lease: %+v", jobs)
	}
}

func testGroups(t *testing.T, url string) {
	s := running(t, url)
	accept(t, s, newMessage(message(t, id(id1)), remote("bob@b.test"), remote("cid@c.test"), remote("Eve@b.test"), push("fay@a.test"), push("gil@a.test")))
	got := map[string]int{}
	for _, j := range lease(t, s, noon) {
		got[string(j.Mode)+" "+j.Target] = len(j.Recipients)
	}
	same(t, "jobs", map[string]int{"remote b.test": 2, "remote c.test": 1, "push fay@a.test": 1, "push gil@a.test": 1}, got)
}

func testFinish(t *testing.T, url string) {
	s := running(t, url)
	accept(t, s, newMessage(message(t, id(id1)), remote("bob@b.test"), remote("cid@b.test"), remote("eve@b.test")))
	lease(t, s, noon)
	at, next := noon.Add(time.Second), noon.Add(5*time.Second)
	finish(t, s,
		Outcome{MessageID: id1, Address: "bob@b.test", At: at, State: amtp.Delivered, HTTPStatus: 200, Took: 30 * time.Millisecond},
		Outcome{MessageID: id1, Address: "cid@b.test", At: at, State: amtp.Retrying, Code: "SERVER_ERROR", Text: "503", HTTPStatus: 503, Next: next},
		Outcome{MessageID: id1, Address: "eve@b.test", At: at, State: amtp.Retrying, Untried: true, Next: next},
	)
	want := amtp.MessageStatus{
		MessageID: id1, Status: amtp.Retrying, Attempts: 1, CreatedAt: noon, UpdatedAt: at, NextRetry: &next,
		Recipients: []amtp.RecipientStatus{
			{Address: "bob@b.test", Status: amtp.Delivered, Timestamp: at, Attempts: 1},
			{Address: "cid@b.test", Status: amtp.Retrying, Timestamp: at, Attempts: 1, NextRetry: &next, ErrorCode: "SERVER_ERROR", ErrorMessage: "503"},
			{Address: "eve@b.test", Status: amtp.Queued, Timestamp: noon},
		},
	}
	got, err := s.Status(t.Context(), id1)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "status", want, got)
	if jobs := lease(t, s, next.Add(-1000)); len(jobs) != 0 {
		t.Errorf("too early: %+v", jobs)
	}
	jobs := lease(t, s, next)
	if len(jobs) != 1 {
		t.Fatalf("jobs %+v", jobs)
	}
	same(t, "who is left", []JobRecipient{{"cid@b.test", 1}, {"eve@b.test", 0}}, jobs[0].Recipients)
	finish(t, s,
		Outcome{MessageID: id1, Address: "cid@b.test", At: next, State: amtp.Delivered, HTTPStatus: 200},
		Outcome{MessageID: id1, Address: "eve@b.test", At: next, State: amtp.Delivering, HTTPStatus: 202},
	)
	got, err = s.Status(t.Context(), id1)
	if err != nil {
		t.Fatal(err)
	}
	if c := got.Recipients[1]; c.Attempts != 2 || c.ErrorCode != "" || c.ErrorMessage != "" || c.NextRetry != nil {
		t.Errorf("after success: %+v", c)
	}
	same(t, "message", amtp.Delivering, got.Status)
	if _, due, err := s.NextDue(t.Context()); due || err != nil {
		t.Errorf("left in the queue: %v", err)
	}
	attempts, err := s.Attempts(t.Context(), id1)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "attempts", []Attempt{
		{Address: "bob@b.test", At: at, State: amtp.Delivered, HTTPStatus: 200, Took: 30 * time.Millisecond},
		{Address: "cid@b.test", At: at, State: amtp.Retrying, Code: "SERVER_ERROR", Text: "503", HTTPStatus: 503},
		{Address: "cid@b.test", At: next, State: amtp.Delivered, HTTPStatus: 200},
		{Address: "eve@b.test", At: next, State: amtp.Delivering, HTTPStatus: 202},
	}, attempts)
}

func testLate(t *testing.T, url string) {
	s := running(t, url)
	accept(t, s, newMessage(message(t, id(id1)), remote("bob@b.test")))
	lease(t, s, noon)
	lease(t, s, noon.Add(time.Minute)) // by somebody else
	out := Outcome{MessageID: id1, Address: "bob@b.test", At: noon, State: amtp.Failed, Code: "CLIENT_ERROR"}
	finish(t, s, out)
	out.State, out.Code = amtp.Delivered, ""
	finish(t, s, out)
	for _, late := range []amtp.State{amtp.Failed, amtp.Retrying} {
		out.State, out.Next = late, noon
		finish(t, s, out)
		same(t, "state", map[string]amtp.State{"bob@b.test": amtp.Delivered}, statesOf(t, s, id1))
	}
	if _, due, err := s.NextDue(t.Context()); due || err != nil {
		t.Errorf("in the queue again: %v", err)
	}
	if d, err := s.DeadLetters(t.Context(), Selection{All: true}); d.Total != 0 || err != nil {
		t.Errorf("a dead letter that was delivered: %+v %v", d, err)
	}
	if tries, err := s.Attempts(t.Context(), id1); len(tries) != 4 || err != nil {
		t.Errorf("four tries are listed as %+v %v", tries, err)
	}
}

func testNotice(t *testing.T, url string) {
	s := running(t, url)
	accept(t, s, newMessage(message(t, id(id1)), remote("bob@b.test")))
	lease(t, s, noon)
	notice := newMessage(message(t, id(id2), key(key2)), pull("ann@a.test"))
	out := Outcome{MessageID: id1, Address: "bob@b.test", At: noon, State: amtp.Failed, Code: "CLIENT_ERROR", Notice: &notice}
	finish(t, s, out)
	finish(t, s, out)
	same(t, "inbox", []string{id2}, inbox(t, s, "ann@a.test"))
	other := newMessage(message(t, id(id2), key(key2), says("other")), pull("ann@a.test"))
	out.Notice = &other
	finish(t, s, out) // a conflict of the notice is not one of the outcome
}

// A failure that is reported after the delivery tells nobody of a failure.
func testLateNotice(t *testing.T, url string) {
	s := running(t, url)
	accept(t, s, newMessage(message(t, id(id1)), remote("bob@b.test")))
	lease(t, s, noon)
	out := Outcome{MessageID: id1, Address: "bob@b.test", At: noon, State: amtp.Delivered}
	finish(t, s, out)
	notice := newMessage(message(t, id(id2), key(key2)), pull("ann@a.test"))
	out.State, out.Code, out.Notice = amtp.Failed, "CLIENT_ERROR", &notice
	finish(t, s, out)
	finish(t, s, out, out)
	if got := inbox(t, s, "ann@a.test"); len(got) != 0 {
		t.Errorf("told of a failure: %v", got)
	}
}

func testDeadLetters(t *testing.T, url string) {
	s := running(t, url)
	accept(t, s, newMessage(message(t, id(id1)), remote("bob@b.test"), remote("cid@c.test"), none("eve@a.test")))
	lease(t, s, noon)
	dead := noon.Add(time.Hour)
	for _, who := range []string{"bob@b.test", "cid@c.test"} {
		finish(t, s, Outcome{MessageID: id1, Address: who, At: dead, State: amtp.Failed, Code: "SERVER_ERROR", Text: "gone", HTTPStatus: 500})
	}
	list := func(sel Selection) Deliveries {
		t.Helper()
		d, err := s.DeadLetters(t.Context(), sel)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	want := Delivery{
		MessageID: id1, Sender: "ann@a.test", Address: "bob@b.test", Mode: Remote, Target: "b.test", State: amtp.Failed, Attempts: 1,
		Accepted: noon, Dead: dead, Code: "SERVER_ERROR", Text: "gone",
	}
	same(t, "by target", Deliveries{1, []Delivery{want}}, list(Selection{Target: "b.test"}))
	same(t, "all", 2, list(Selection{All: true, Limit: 1}).Total)
	same(t, "page", "bob@b.test", list(Selection{All: true, Limit: 1, Offset: 1}).Items[0].Address)
	same(t, "none", 0, list(Selection{}).Total)
	same(t, "before", 0, list(Selection{Before: dead}).Total)
	again := dead.Add(time.Minute)
	if n, err := s.Redrive(t.Context(), Selection{}, again); n.Count != 0 || err != nil {
		t.Errorf("nothing redriven: %+v %v", n, err)
	}
	var hurried []string
	s.OnHurry(func(targets []string) { hurried = append(hurried, targets...) })
	if n, err := s.Redrive(t.Context(), Selection{MessageID: id1, Target: "b.test"}, again); n.Count != 1 || err != nil {
		t.Fatalf("redriven: %+v %v", n, err)
	}
	same(t, "hurried", []string{"b.test"}, hurried)
	jobs := lease(t, s, again)
	if len(jobs) != 1 || !jobs[0].Queued.Equal(again) || jobs[0].Recipients[0].Attempts != 0 {
		t.Errorf("redriven: %+v", jobs)
	}
	finish(t, s, Outcome{MessageID: id1, Address: "bob@b.test", At: again, State: amtp.Delivered})
	if n, err := s.Purge(t.Context(), Selection{All: true}); n.Count != 1 || err != nil {
		t.Errorf("purged: %d %v", n, err)
	}
	same(t, "left", 0, list(Selection{All: true}).Total)
	same(t, "states", map[string]amtp.State{"bob@b.test": amtp.Delivered, "cid@c.test": amtp.Failed, "eve@a.test": amtp.Failed}, statesOf(t, s, id1))
	st, err := s.Status(t.Context(), id1)
	if err != nil || st.Recipients[0].Attempts != 2 {
		t.Errorf("attempts of two lives: %+v %v", st, err)
	}
}

// What waits is listed, counted, and made due.
func TestQueueIsListed(t *testing.T) {
	s := running(t, kit.NewSQLite(t))
	accept(t, s, newMessage(message(t, id(id1)), remote("bob@b.test"), remote("eve@b.test")))
	accept(t, s, newMessage(message(t, id(id2)), push("cid@a.test")))
	lease(t, s, noon, "cid@a.test")
	next := noon.Add(time.Hour)
	finish(t, s, Outcome{MessageID: id1, Address: "bob@b.test", At: noon, State: amtp.Retrying, Code: "TIMEOUT", Next: next},
		Outcome{MessageID: id1, Address: "eve@b.test", At: noon, State: amtp.Retrying, Untried: true, Next: next})
	st, err := s.QueueStats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same(t, "stats", QueueStats{Queued: 2, Retrying: 1, Oldest: noon, Targets: []TargetStats{{"b.test", 1, next}, {"cid@a.test", 1, noon}}}, st)
	d, err := s.Queue(t.Context(), Selection{All: true})
	if err != nil || d.Total != 3 || d.Items[0].Address != "cid@a.test" || !d.Items[1].Next.Equal(next) || d.Items[1].Code != "TIMEOUT" {
		t.Errorf("%+v %v", d, err)
	}
	var hurried []string
	s.OnHurry(func(targets []string) { hurried = append(hurried, targets...) })
	if n, err := s.Expedite(t.Context(), Selection{MessageID: id1}, noon.Add(time.Second)); n.Count != 2 || err != nil {
		t.Errorf("expedited %d, %v", n, err)
	}
	same(t, "hurried", []string{"b.test"}, hurried)
	if jobs := lease(t, s, noon.Add(time.Second)); len(jobs) != 2 {
		t.Errorf("due: %+v", jobs)
	}
}

// An agent that fetches by now finds in its inbox what was to be pushed to it.
func testInboxInsteadOfPush(t *testing.T, url string) {
	s := running(t, url)
	accept(t, s, newMessage(message(t, id(id1)), push("Cid@a.test")))
	lease(t, s, noon)
	finish(t, s, Outcome{MessageID: id1, Address: "cid@a.test", At: noon, State: amtp.Delivered, Inbox: true})
	page, err := s.Inbox(t.Context(), "cid@a.test", Page{Limit: 10})
	if err != nil || len(page.Messages) != 1 || page.Messages[0].MessageID != id1 {
		t.Fatalf("inbox %+v, %v", page, err)
	}
	status, err := s.Status(t.Context(), id1)
	if err != nil || !status.Recipients[0].InboxDelivered || status.Recipients[0].DeliveryMode != amtp.ModePull {
		t.Errorf("status %+v, %v", status, err)
	}
	if err := s.Ack(t.Context(), "cid@a.test", id1, noon); err != nil {
		t.Error(err)
	}
}

// Jobs of several messages, each to several targets, come with their own recipients, those
// first that are due for longest, and none of them comes twice.
func testLeaseMany(t *testing.T, url string) {
	s := running(t, url)
	accept(t, s, newMessage(message(t, id(id2)), remote("bob@b.test"), remote("cid@c.test"), remote("eve@b.test"), pull("ann@a.test")))
	later := newMessage(message(t, id(id1), says("later")), remote("cid@c.test"), push("hook@a.test"))
	later.Accepted = noon.Add(time.Second)
	accept(t, s, later)
	var got []string
	for _, j := range lease(t, s, noon.Add(time.Minute)) {
		line := j.MessageID + " " + j.Target
		for _, r := range j.Recipients {
			line += " " + r.Address
		}
		got = append(got, line)
	}
	slices.Sort(got[:min(2, len(got))]) // those of one message are due at the same time
	slices.Sort(got[min(2, len(got)):])
	same(t, "jobs", []string{id2 + " b.test bob@b.test eve@b.test", id2 + " c.test cid@c.test", id1 + " c.test cid@c.test", id1 + " hook@a.test hook@a.test"}, got)
	same(t, "again", 0, len(lease(t, s, noon.Add(time.Minute))))
}

// A heap of any size is changed in calls that end, which come to each recipient once.
func testHeap(t *testing.T, url string) {
	s := running(t, url)
	const each = MaxChange/3 + 1
	for i, one := range []string{id1, id2, id3} {
		to := make([]NewRecipient, each)
		for n := range to {
			to[n] = remote(fmt.Sprintf("u%d@b.test", n))
		}
		accept(t, s, newMessage(message(t, id(one), key(fmt.Sprintf("6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0b%d", i))), to...))
	}
	early := noon // a call finds what is due later only
	flush := func(sel Selection, count int, more bool) Place {
		t.Helper()
		early = early.Add(-time.Second)
		got, err := s.Expedite(t.Context(), sel, early)
		if err != nil || got.Count != count || (got.Next != Place{}) != more {
			t.Fatalf("changed %+v, %v", got, err)
		}
		read, err := ParsePlace(got.Next.String())
		if err != nil || read != got.Next {
			t.Fatalf("%v is read as %v, %v", got.Next, read, err)
		}
		return read
	}
	next := flush(Selection{All: true, Limit: 5}, 5, true)
	flush(Selection{All: true, After: next, Limit: each - 5}, each-5, true)
	next = flush(Selection{All: true, Limit: MaxChange + 1}, MaxChange, true)
	next = flush(Selection{All: true, After: next}, 3*each-MaxChange, false)
	same(t, "end", Place{}, next)
	for _, bad := range []string{"x", "1", "1.", ".1", "-1.0", "0.1", "1.-1", "1.99999"} {
		if p, err := ParsePlace(bad); err == nil {
			t.Errorf("%q is read as %v", bad, p)
		}
	}
}

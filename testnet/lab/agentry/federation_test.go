package agentry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// letters is how many messages go in each direction, each to two recipients.
const letters = 1000

// send sends letters numbered messages from an agent, sixteen at a time, and returns what
// was sent by number.
func send(t *testing.T, from agent, to ...string) []letter {
	t.Helper()
	sent := make([]letter, letters)
	recipients, err := json.Marshal(to)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < letters; i += 16 {
				body := fmt.Sprintf(`{"sender":%q,"recipients":%s,"subject":"letter %d","headers":{"priority":"high"},"in_reply_to":%q,"payload":{"n":%d,"text":"\u00fc<>&"}}`,
					from.address, recipients, i, question, i)
				got := from.g.do(http.MethodPost, "/v1/messages", body, "Authorization", "Bearer "+from.key)
				if got.status != http.StatusOK && got.status != http.StatusAccepted {
					t.Errorf("letter %d: %d %s", i, got.status, got.body)
					return
				}
				got.read(t, &sent[i])
				sent[i].Sender, sent[i].Subject, sent[i].InReplyTo = from.address, fmt.Sprintf("letter %d", i), question
			}
		})
	}
	wg.Wait()
	return sent
}

// question is a message to which all are said to be the answer.
const question = "0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01"

// arrived waits until an inbox is full, and compares it with what was sent. It returns how
// many came under an id of their own.
func arrived(t *testing.T, to agent, sent []letter) (apart int) {
	t.Helper()
	var inbox []letter
	to.g.until(to.address+" has all its messages", func() bool {
		inbox = to.inbox()
		return len(inbox) >= len(sent)
	})
	if len(inbox) != len(sent) {
		t.Errorf("%s has %d messages, want %d", to.address, len(inbox), len(sent))
	}
	seen := make(map[int]bool)
	for _, got := range inbox {
		var payload struct {
			N    int
			Text string
		}
		var headers struct {
			Priority string
			Original string `json:"amtp-original-message-id"`
		}
		if err := json.Unmarshal(got.Payload, &payload); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got.Headers, &headers); err != nil {
			t.Fatal(err)
		}
		if seen[payload.N] {
			t.Errorf("%s has letter %d twice", to.address, payload.N)
		}
		seen[payload.N] = true
		want := sent[payload.N]
		if headers.Original != "" { // signed, each copy but the first has an id of its own
			got.MessageID = headers.Original
			apart++
		}
		if got.MessageID != want.MessageID || got.Sender != want.Sender || got.Subject != want.Subject || got.InReplyTo != want.InReplyTo ||
			payload.Text != "ü<>&" || headers.Priority != "high" || got.IdempotencyKey == "" {
			t.Errorf("%s has letter %d as %+v, sent was %+v", to.address, payload.N, got, want)
		}
	}
	return apart
}

// couple starts the reference's gateway of north.test and ours of south.test.
func couple(t *testing.T, args ...string) (theirs, ours *gateway) {
	t.Helper()
	theirs, ours = newGateway(t, "north.test").theirs(), newGateway(t, "south.test").ours(args...)
	acquaint(t, theirs, ours)
	return theirs.start(), ours.start()
}

// Checklist 81 and 82: what the reference sends to two recipients of ours, both have, once.
func TestWithAgentryWeGetAllThatItSends(t *testing.T) {
	theirs, ours := couple(t)
	bob, eve := ours.register("bob"), ours.register("eve")
	sent := send(t, theirs.register("alice"), bob.address, eve.address)
	arrived(t, bob, sent)
	arrived(t, eve, sent)
}

// Checklist 81 and 82, the other way.
func TestWithAgentryItGetsAllThatWeSend(t *testing.T) {
	theirs, ours := couple(t)
	bob, eve := theirs.register("bob"), theirs.register("eve")
	alice := ours.register("alice")
	sent := send(t, alice, bob.address, eve.address)
	arrived(t, bob, sent)
	arrived(t, eve, sent)
	for _, i := range []int{0, letters / 2, letters - 1} {
		ours.until("the states are final", func() bool {
			var st struct{ Status string }
			ours.do(http.MethodGet, "/v1/messages/"+sent[i].MessageID+"/status", "", "Authorization", "Bearer "+alice.key).read(t, &st)
			return st.Status == "delivered"
		})
	}
}

// The same, signed: each recipient gets a request of its own then, and the reference, which
// knows a message by its key alone, still loses none.
func TestWithAgentryItGetsAllThatWeSign(t *testing.T) {
	theirs, ours := newGateway(t, "north.test").theirs(), newGateway(t, "south.test").ours()
	acquaint(t, theirs, ours)
	ours.run("gateway", "key", "new", "--domain", ours.domain, "--data", ours.dir)
	theirs.start()
	ours.start()
	bob, eve := theirs.register("bob"), theirs.register("eve")
	sent := send(t, ours.register("alice"), bob.address, eve.address)
	if apart := arrived(t, bob, sent) + arrived(t, eve, sent); apart != letters {
		t.Errorf("%d of %d copies have an id of their own, want one of each message", apart, 2*letters)
	}
}

// The same with both directions at once, in the mode that is as open as the reference.
func TestWithAgentryBothWaysInCompat(t *testing.T) {
	theirs, ours := couple(t, "--compat", "agentry")
	north := []agent{theirs.register("bob"), theirs.register("eve")}
	south := []agent{ours.register("bob"), ours.register("eve")}
	var toNorth, toSouth []letter
	var wg sync.WaitGroup
	wg.Go(func() {
		toSouth = send(t, agent{g: theirs, address: "alice@north.test"}, south[0].address, south[1].address)
	})
	wg.Go(func() {
		toNorth = send(t, agent{g: ours, address: "alice@south.test"}, north[0].address, north[1].address)
	})
	wg.Wait()
	for i := range 2 {
		arrived(t, south[i], toSouth)
		arrived(t, north[i], toNorth)
	}
}

// Checklist 83 and 86: what it cannot take while it is away waits with us, through our own
// end and start too, and comes once.
func TestWithAgentryMessagesWaitForIt(t *testing.T) {
	theirs, ours := newGateway(t, "north.test").theirs(), newGateway(t, "south.test").ours()
	acquaint(t, theirs, ours)
	ours.start()
	sent := send(t, ours.register("alice"), "bob@north.test", "eve@north.test")
	ours.stop()
	theirs.start()
	bob, eve := theirs.register("bob"), theirs.register("eve")
	ours.start()
	arrived(t, bob, sent)
	arrived(t, eve, sent)
}

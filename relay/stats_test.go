package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatIsCounted(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	alice, _ := h.join(1, ExtensionAck)
	bob, _ := h.join(2)
	h.dial() // and never says who it is
	alice.send(bob.who, "hello", "1")
	alice.want(object{"type": typeRelayed})
	bob.want(object{"type": typeReceive})
	alice.send(bob.who, strings.Repeat("x", 64<<10+1), "2")
	alice.want(object{"type": typeRefused})
	carol := testKey(t, 3).AMID()
	for range 2 {
		alice.send(carol, "kept", "3")
		alice.want(object{"type": typeRelayed})
	}
	alice.writeText("not JSON")
	alice.writeText(`{"type":"\u0000` + alice.who.String() + `"}`)
	alice.quiet()
	bad := h.dial()
	bad.write(signed(testKey(t, 4), jsStamp(), "else"))
	bad.want(object{"type": typeError})

	want := map[string]uint64{
		"waiting": 1, "ack": 1, "legacy": 1, "stored": 1, "stored bytes": 4, "connect": 3, "send": 4, "ping": 1, "malformed": 2,
		"connected": 2, "relayed": 3, "receive": 1, "refused": 1, "too large": 1, "bad signature": 1, "repeated": 1,
	}
	var s Stats
	var got map[string]uint64
	// A frame is counted after it was written, so its reader may be here first.
	defer func() { t.Log(cmp.Diff(want, got)) }()
	h.until("everything is counted", func(server *Server) bool {
		s = server.Stats()
		got = map[string]uint64{
			"waiting": uint64(s.Waiting), "ack": uint64(s.Ack), "legacy": uint64(s.Legacy),
			"stored": uint64(s.Mailbox.Messages), "stored bytes": uint64(s.Mailbox.Bytes),
			"connect": s.In[typeConnect].N, "send": s.In[typeSend].N, "ping": s.In[typePing].N, "malformed": s.In[malformed].N,
			"connected": s.Out[typeConnected].N, "relayed": s.Out[typeRelayed].N, "receive": s.Out[typeReceive].N, "refused": s.Out[typeRefused].N,
			"too large": s.Refused[string(RefusedTooLarge)].N, "bad signature": s.AuthFailed[CodeInvalidSignature].N,
			"repeated": s.Repeated,
		}
		return cmp.Equal(want, got)
	})
	if s.In[typeSend].Bytes < 64<<10 || s.Commits.N < 3 || s.Commits.UpTo[5*time.Second] != s.Commits.N || !s.Ready {
		t.Errorf("%+v", s)
	}
	// T55: what strangers write names nothing.
	if text := fmt.Sprintf("%+v", s); strings.Contains(text, alice.who.String()) || strings.Contains(text, "127.0.0.1") {
		t.Errorf("somebody is named: %s", text)
	}
}

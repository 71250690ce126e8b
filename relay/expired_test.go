package relay

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/relay/mailbox"

	"github.com/google/go-cmp/cmp"
)

// giveUp stores a message of alice to bob and lets the mailbox give it up, as hours of
// waiting do. It returns the store.
func giveUp(t *testing.T, messages int) (disk *store.Memory, ids []MessageID) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		disk = store.NewMemory()
		box := testBox(t, disk, DefaultLimits())
		a, b := testKey(t, 1).AMID(), testKey(t, 2).AMID()
		if _, err := box.Open(t.Context(), a, true); err != nil {
			t.Fatal(err)
		}
		for i := range messages {
			m := mailbox.Message{From: a, To: b, Kind: KindMessage, Payload: fmt.Sprint("m", i), Once: true}
			m.ID = mailbox.PayloadID(m.Payload)
			ids = append(ids, m.ID)
			if _, err := box.Put(t.Context(), []mailbox.Message{m}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(73 * time.Hour)
		if n, err := box.Expire(t.Context()); err != nil || n != messages {
			t.Fatalf("%d expired: %v", n, err)
		}
	})
	return disk.Reopen(), ids // what was made in the bubble cannot be used outside
}

func signing(t *testing.T, h *house) *house {
	t.Helper()
	key := testKey(t, 99)
	h.cfg.Key = &key
	return h
}

// T56: who was promised a message hears, signed, that it was given up.
func TestExpiredMessagesAreTold(t *testing.T) {
	disk, ids := giveUp(t, 2)
	h := signing(t, newHouse(t))
	h.start(disk, Limits{})
	for _, ext := range [][]Extension{{ExtensionAck, ExtensionBinary}, {ExtensionExpired}} {
		old, connected := h.join(1, ext...)
		if _, has := connected["relay_key"]; has {
			t.Errorf("%v: %v", ext, connected)
		}
		old.quiet()
		old.leave(h)
	}
	for _, ext := range []Extension{ExtensionChallenge, ExtensionBinary} {
		server := ""
		if ext == ExtensionChallenge {
			server = h.addr()
		}
		alice, connected := h.join(1, ext, ExtensionAck, ExtensionExpired)
		key, err := identity.ParsePublicKeyText(connected["relay_key"].(string))
		if err != nil || key != testKey(t, 99).Public() {
			t.Fatalf("relay_key %v: %v", connected["relay_key"], err)
		}
		for i, id := range ids {
			got := alice.want(object{"type": typeExpired})
			raw, err := base64.StdEncoding.DecodeString(got["notice"].(string))
			if err != nil {
				t.Fatal(err)
			}
			n, err := identity.ParseNotice(raw, key, server, alice.who)
			if err != nil || n.Message != id || n.To != testKey(t, 2).AMID() || n.Reason != identity.NoticeExpired ||
				n.GivenUp.Sub(n.Taken) < 72*time.Hour {
				t.Errorf("%s, notice %d: %+v, %v", ext, i, n, err)
			}
			if got["id"] != identity.NoticeID(raw) || len(got) != 3 {
				t.Errorf("frame %v", got)
			}
			// What was not acknowledged comes again; the second time all is.
			if i > 0 || ext == ExtensionBinary {
				alice.ack(got["id"].(string))
			}
		}
		if ext == ExtensionChallenge {
			ids = ids[:1]
		}
		alice.quiet()
		alice.leave(h)
	}
	alice, _ := h.join(1, ExtensionAck, ExtensionExpired)
	alice.quiet()
	alice.leave(h)
	// A relay without a key of its own signs nothing.
	h.shut()
	h.cfg.Key = nil
	h.start(disk, Limits{})
	_, connected := h.join(1, ExtensionAck, ExtensionExpired)
	if diff := cmp.Diff([]any{"ack"}, connected["extensions"]); diff != "" {
		t.Error(diff)
	}
}

func TestClientHearsOfExpiredMessages(t *testing.T) {
	disk, ids := giveUp(t, 1)
	h := signing(t, newHouse(t))
	h.start(disk, Limits{})
	told := make(chan Expired, 10)
	cfg := ClientConfig{URL: h.url(), Key: testKey(t, 1), Limits: quick(), OnExpired: func(e Expired) { told <- e }}
	alice := startAgentWith(t, cfg)
	if s := alice.connected(); s.RelayKey != testKey(t, 99).Public() {
		t.Errorf("state: %+v", s)
	}
	e := await(t, "the notice", told)
	want := Expired{ID: identity.NoticeID(e.Raw), Message: ids[0].String(), To: testKey(t, 2).AMID(), Taken: e.Taken, At: e.At, Reason: identity.NoticeExpired, Raw: e.Raw}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	alice.stop()
	again := startAgentWith(t, cfg)
	again.connected()
	e = await(t, "the notice again", told)
	again.Ack(e.ID)
	h.until("the notice is gone", func(s *Server) bool {
		rows, err := s.box.List(context.Background(), testKey(t, 1).AMID(), 0, Size{Messages: 10, Bytes: 1 << 20})
		return err == nil && len(rows) == 0
	})
}

// T54: what the relay's key did not sign for us is no notice.
func TestForgedNoticesAreIgnored(t *testing.T) {
	alice := testKey(t, 1)
	c, err := NewClient(ClientConfig{URL: "ws://relay", Key: alice, Deliver: func(Delivery) {}, OnExpired: func(Expired) {}})
	if err != nil {
		t.Fatal(err)
	}
	l := newLink(c, nil, State{Extensions: []Extension{ExtensionChallenge, ExtensionAck, ExtensionExpired}, RelayKey: testKey(t, 99).Public()})
	frame := func(key identity.PrivateKey, change func(*identity.RelayNotice)) expiredFrame {
		n := identity.RelayNotice{
			Server: "relay:80", From: alice.AMID(), To: testKey(t, 2).AMID(), Taken: time.Unix(1, 0), GivenUp: time.Unix(2, 0), Reason: identity.NoticeCorrupt,
		}
		change(&n)
		raw, err := identity.SignNotice(key, n)
		if err != nil {
			t.Fatal(err)
		}
		return expiredFrame{ID: identity.NoticeID(raw), Notice: base64.StdEncoding.EncodeToString(raw)}
	}
	good := frame(testKey(t, 99), func(*identity.RelayNotice) {})
	if e, err := l.expired(good); err != nil || e.Reason != identity.NoticeCorrupt {
		t.Fatalf("a good notice: %+v, %v", e, err)
	}
	for name, f := range map[string]expiredFrame{
		"another relay's":   frame(testKey(t, 98), func(*identity.RelayNotice) {}),
		"another name":      frame(testKey(t, 99), func(n *identity.RelayNotice) { n.Server = "" }),
		"to another sender": frame(testKey(t, 99), func(n *identity.RelayNotice) { n.From = n.To }),
		"another id":        {ID: strings.Repeat("0", 32), Notice: good.Notice},
		"no base64":         {ID: good.ID, Notice: "!"},
	} {
		if e, err := l.expired(f); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

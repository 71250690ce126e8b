package dht

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"amesh/identity"
	"amesh/internal/wire"
)

// keeping runs a server that keeps cards.
func keeping(t *testing.T, change func(*CardLimits), bootstrap ...peer.AddrInfo) (host.Host, *Node) {
	t.Helper()
	limits := DefaultCardLimits()
	limits.AnnounceSoon = 10 * time.Millisecond
	if change != nil {
		change(&limits)
	}
	shelf, err := NewCardShelf(limits)
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, plain(t))
	n, _ := startWith(t, h, Config{Mode: ModeServer, Bootstrap: bootstrap, Limits: quick(), Cards: shelf, CardLimits: limits})
	return h, n
}

// visitor runs a node that uses the servers of others.
func visitor(t *testing.T, bootstrap ...peer.AddrInfo) *Node {
	t.Helper()
	n, _ := start(t, newHost(t, plain(t)), ModeClient, quick(), bootstrap...)
	eventually(t, "servers answered", func() bool { return n.Status().Servers == len(bootstrap) && n.Status().Peers > 0 })
	return n
}

func TestCardIsFoundAtTheServerWhereItWasLeft(t *testing.T) {
	t.Parallel()
	relay, _ := keeping(t, nil)
	ann, bob, key := visitor(t, info(relay)), visitor(t, info(relay)), newKey(t)
	raw := offer(t, key, 1, "travel/flights")
	eventually(t, "left", func() bool { return ann.LeaveCard(budget(t), raw) == nil })
	found, err := bob.Search(budget(t), Query{ID: "travel"})
	if err != nil || len(found) != 1 {
		t.Fatalf("%d found, %v", len(found), err)
	}
	if !bytes.Equal(found[0].Card.Raw(), raw) || found[0].Card.Agent != key.AMID() || found[0].From[0] != relay.ID().String() {
		t.Errorf("found %+v", found[0])
	}
	if none, err := bob.Search(budget(t), Query{ID: "cooking"}); err != nil || len(none) != 0 {
		t.Errorf("what nobody does: %d, %v", len(none), err)
	}
	if _, err := bob.Search(budget(t), Query{}); !errors.Is(err, ErrQuery) {
		t.Errorf("no question: got %v, want ErrQuery", err)
	}
}

// Bob has never heard of Ann's relay. The table says that it has an answer.
func TestCardIsFoundThroughProviders(t *testing.T) {
	t.Parallel()
	theirs, _ := keeping(t, nil)
	ours, _ := keeping(t, nil, info(theirs))
	ann, bob := visitor(t, info(theirs)), visitor(t, info(ours))
	key := newKey(t)
	card := offer(t, key, 1, "travel/flights")
	eventually(t, "left", func() bool { return ann.LeaveCard(budget(t), card) == nil })
	for _, q := range []Query{{ID: "travel/flights", Exact: true}, {Category: "cat-travel"}} {
		eventually(t, "found by "+q.topic(), func() bool {
			found, err := bob.Search(budget(t), q)
			return err == nil && len(found) == 1 && found[0].Card.Agent == key.AMID() && found[0].From[0] == theirs.ID().String()
		})
	}
}

func TestCardReturnsToARestartedServer(t *testing.T) {
	t.Parallel()
	cfg := plain(t)
	first := newHost(t, cfg)
	listen := []string{first.Network().ListenAddresses()[0].String()}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Listen = listen
	server := func() (host.Host, func()) {
		shelf := newShelf(t, nil)
		h := newHost(t, cfg)
		_, stop := startWith(t, h, Config{Mode: ModeServer, Limits: quick(), Cards: shelf})
		return h, func() { stop(); _ = h.Close() }
	}
	h, stop := server()
	ann, bob := visitor(t, info(h)), visitor(t, info(h))
	card := offer(t, newKey(t), 1, "chat")
	eventually(t, "left", func() bool { return ann.LeaveCard(budget(t), card) == nil })
	stop()
	server()
	eventually(t, "the card is back", func() bool {
		found, err := bob.Search(budget(t), Query{ID: "chat"})
		return err == nil && len(found) == 1
	})
}

// T02, T59: what may not be kept is refused with its reason, and stays refused.
func TestServerRefusesCards(t *testing.T) {
	t.Parallel()
	relay, _ := keeping(t, nil)
	n, key, now := visitor(t, info(relay)), newKey(t), time.Now()
	good := offer(t, key, 5, "chat")
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"changed":  {append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), ErrCard},
		"too long": {make([]byte, identity.MaxCardSize), ErrCard},
		"expired":  {offerOf(t, key, 9, now.Add(-2*time.Hour), now.Add(-time.Hour), "chat"), ErrCard},
		"future":   {offerOf(t, key, 9, now.Add(time.Hour), now.Add(2*time.Hour), "chat"), ErrCard},
		"good":     {good, nil},
		"again":    {good, nil},
	} {
		raw, err := n.exchangeCards(budget(t), info(relay), encodeLeave(c.raw))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := parseKept(raw); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if err := n.LeaveCard(budget(t), offer(t, key, 4, "chat")); !errors.Is(err, ErrStaleCard) {
		t.Errorf("older: got %v, want ErrStaleCard", err)
	}
	if len(n.left) != 0 {
		t.Error("what was refused is tried again")
	}
}

func TestServerAnswersNoMoreThanItsLimits(t *testing.T) {
	t.Parallel()
	relay, server := keeping(t, func(l *CardLimits) { l.Burst, l.PerSecond, l.Answer = 4, 0.001, 2 })
	n := visitor(t, info(relay))
	for range 3 {
		if _, err := server.desk.keeper.Keep(parsed(t, offer(t, newKey(t), 1, "chat")), here, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(request []byte) ([]byte, error) { return n.exchangeCards(budget(t), info(relay), request) }
	raw, err := ask(encodeAsk(Query{ID: "chat"}))
	if err != nil {
		t.Fatal(err)
	}
	if cards, more, err := parseCards(raw); err != nil || len(cards) != 2 || !more {
		t.Errorf("%d cards, more %v, %v", len(cards), more, err)
	}
	for name, bad := range map[string][]byte{"unknown kind": {9}, "a byte more": append(encodeAsk(Query{ID: "chat"}), 0), "no question": encodeAsk(Query{})} {
		if raw, err := ask(bad); err != nil || !bytes.Equal(raw, []byte{byte(cardBad)}) {
			t.Errorf("%s: %x, %v", name, raw, err)
		}
	}
	if raw, err := ask(encodeAsk(Query{ID: "chat"})); err != nil || !bytes.Equal(raw, []byte{byte(cardTooOften)}) {
		t.Errorf("fifth request: %x, %v", raw, err)
	}
	if _, err := ask(make([]byte, maxCardFrame+1)); err == nil {
		t.Error("a request beyond the limit was answered")
	}
}

// A provider may say what it likes. What it can't do is make us believe it.
func TestSearchBelievesNoServer(t *testing.T) {
	t.Parallel()
	key, now := newKey(t), time.Now()
	good := offer(t, key, 5, "chat")
	answer := encodeCards([][]byte{
		append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), // forged
		offer(t, newKey(t), 1, "cooking"),                            // not what was asked
		offerOf(t, newKey(t), 1, now.Add(-2*time.Hour), now.Add(-time.Hour), "chat"),
		offer(t, key, 4, "chat"), good, // an old one and the new one
	}, false, 255, maxAnswer)
	liar := newHost(t, plain(t))
	lie(t, liar, nil)
	liar.SetStreamHandler(CardsProtocol, func(s network.Stream) {
		if _, err := readFrame(s, maxCardFrame); err == nil {
			_ = writeFrame(s, answer)
		}
		_ = s.Close()
	})
	for name, silent := range map[string]func(network.Stream){
		"an endless frame": func(s network.Stream) { _, _ = s.Write([]byte{0xFF, 0xFF, 0xFF, 0xFF, 1}); _ = s.Close() },
		"nothing":          func(s network.Stream) { _ = s.Close() },
		"noise":            func(s network.Stream) { _ = writeFrame(s, []byte{0, 0, 9, 1}); _ = s.Close() },
	} {
		bad := newHost(t, plain(t))
		lie(t, bad, nil)
		bad.SetStreamHandler(CardsProtocol, func(s network.Stream) { _, _ = readFrame(s, maxCardFrame); silent(s) })
		if _, err := visitor(t, info(bad)).Search(budget(t), Query{ID: "chat"}); !errors.Is(err, ErrNoServer) {
			t.Errorf("%s: got %v, want ErrNoServer", name, err)
		}
	}
	found, err := visitor(t, info(liar)).Search(budget(t), Query{ID: "chat"})
	if err != nil || len(found) != 1 || !bytes.Equal(found[0].Card.Raw(), good) {
		t.Errorf("%d found, %v", len(found), err)
	}
}

func TestSearchWithoutServersSaysSo(t *testing.T) {
	t.Parallel()
	n, _ := start(t, newHost(t, plain(t)), ModeClient, quick())
	if _, err := n.Search(budget(t), Query{ID: "chat"}); !errors.Is(err, ErrNoServer) {
		t.Errorf("got %v, want ErrNoServer", err)
	}
	if err := n.LeaveCard(budget(t), offer(t, newKey(t), 1, "chat")); !errors.Is(err, ErrUnconfirmed) {
		t.Errorf("leaving: got %v, want ErrUnconfirmed", err)
	}
}

func TestCardFramesAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"empty":     {[]byte{0, 0, 0, 0}, wire.ErrMalformed},
		"too long":  {[]byte{0, 0, 0, 9, 1}, wire.ErrMalformed},
		"endless":   {[]byte{0xFF, 0xFF, 0xFF, 0xFF}, wire.ErrMalformed},
		"cut":       {[]byte{0, 0, 0, 2, 1}, io.ErrUnexpectedEOF},
		"no length": {[]byte{0, 0}, io.ErrUnexpectedEOF},
		"good":      {[]byte{0, 0, 0, 2, 1, 2}, nil},
	} {
		if _, err := readFrame(bytes.NewReader(c.raw), 8); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func FuzzCardRequest(f *testing.F) {
	f.Add(encodeAsk(Query{ID: "travel/flights", Exact: true, Category: "travel"}))
	f.Add(encodeLeave([]byte{1, 2, 3}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		req, err := parseCardRequest(raw)
		if err != nil {
			return
		}
		out := encodeLeave(req.card)
		if req.card == nil {
			out = encodeAsk(req.query)
		}
		if !bytes.Equal(out, raw) {
			t.Errorf("%x is read and written as %x", raw, out)
		}
	})
}

func FuzzCardAnswer(f *testing.F) {
	f.Add(encodeCards([][]byte{{1}, {2, 3}}, true, 9, 100))
	f.Add([]byte{byte(cardFull)})
	f.Fuzz(func(t *testing.T, raw []byte) {
		cards, more, err := parseCards(raw)
		if err == nil && !bytes.Equal(encodeCards(cards, more, 255, maxAnswer), raw) {
			t.Errorf("%x is written differently", raw)
		}
		_ = parseKept(raw)
	})
}

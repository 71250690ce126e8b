package main

import (
	"context"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// CP 9 to 13 by long poll: the relay is killed again and again behind a proxy that lets
// no WebSocket through. No message that it confirmed is lost, and all come in order.
func TestSoakKillRelayUnderAPoll(t *testing.T) {
	if os.Getenv("AMESH_SOAK") == "" {
		t.Skip("SKIP: set AMESH_SOAK=1 for the kill loops")
	}
	const kills = 20
	s := newSoak(t)
	s.args["relay"] = []string{"relay", "--listen", "127.0.0.1:0", "--data", s.path("relay"), "--libp2p", "/ip4/127.0.0.1/udp/0/quic-v1"}
	direct := s.start("relay")["relay"].(string)
	s.args["relay"][2] = strings.TrimSuffix(strings.TrimPrefix(direct, "ws://"), "/v1/connect")
	to, err := url.Parse(strings.Replace(direct, "ws://", "http://", 1))
	if err != nil {
		t.Fatal(err)
	}
	to.Path = ""
	onward := httputil.NewSingleHostReverseProxy(to)
	onward.ErrorLog = log.New(io.Discard, "", 0)
	between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Upgrade")
		onward.ServeHTTP(w, r)
	}))
	defer between.Close()
	polled := strings.Replace(between.URL, "http://", "ws://", 1)

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	reader := newAckReader(t, polled, 2)
	wg.Go(func() { _ = reader.client.Run(ctx) })
	sender := newAckSender(t, polled, 1, reader.who)
	wg.Go(func() { _ = sender.client.Run(ctx) })
	sending, enough := context.WithCancel(ctx)
	sent := make(chan int, 1)
	go func() { sent <- sender.send(sending) }()
	for range kills {
		time.Sleep(time.Duration(50+rand.IntN(400)) * time.Millisecond) // the moment of a kill is by chance
		s.kill("relay")
		s.start("relay")
	}
	enough()
	confirmed := <-sent
	reader.await(confirmed)
	stop()
	wg.Wait()
	reader.drain(polled)
	t.Logf("%d kills: %d confirmed messages all came, %d deliveries again", kills, confirmed, reader.repeats)
}

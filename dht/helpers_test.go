package dht

import (
	"context"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"os"
	"testing"
	"time"

	dht_pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	record "github.com/libp2p/go-libp2p-record"
	recpb "github.com/libp2p/go-libp2p-record/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"amesh/identity"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		// Started by packages on import or kept by the library for the process.
		if err := goleak.Find(
			goleak.IgnoreTopFunction("github.com/ipfs/go-log/v2/writer.(*MirrorWriter).logRoutine"),
		); err != nil {
			os.Stderr.WriteString(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

func newKey(t *testing.T) identity.PrivateKey {
	t.Helper()
	k, err := identity.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// life is when a test's record and bundle hold.
type life struct {
	created, expires time.Time
}

func fresh() life {
	now := time.Now().Truncate(time.Second)
	return life{now, now.Add(time.Hour)}
}

func signBundle(t *testing.T, key identity.PrivateKey, l life) []byte {
	t.Helper()
	kem, err := mlkem.GenerateKey768()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := identity.SignBundle(key, identity.Bundle{
		Epoch: 1, Sequence: 1, Created: l.created, Expires: l.expires,
		Certificate:    identity.KeyCertificate{Exchange: exchangeKey(t), Created: l.created, Expires: l.expires},
		SignedPrekeyID: 1, SignedPrekey: exchangeKey(t),
		KEMKeyID: 1, KEMKey: kem.EncapsulationKey().Bytes(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func exchangeKey(t *testing.T) [32]byte {
	t.Helper()
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return [32]byte(k.PublicKey().Bytes())
}

func signRecord(t *testing.T, key identity.PrivateKey, sequence uint64, l life) []byte {
	t.Helper()
	raw, err := identity.SignRecord(key, identity.AgentRecord{
		Sequence: sequence, Created: l.created, Expires: l.expires,
		Relays: []string{"wss://relay.example/v1/connect"},
	}, signBundle(t, key, l))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

var anyPort = []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"}

// plain is a host on loopback with a fresh key.
func plain(t *testing.T) HostConfig {
	t.Helper()
	return HostConfig{Key: newKey(t), Listen: anyPort}
}

func newHost(t *testing.T, cfg HostConfig) host.Host {
	t.Helper()
	h, err := NewHost(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func info(h host.Host) peer.AddrInfo {
	return peer.AddrInfo{ID: h.ID(), Addrs: h.Network().ListenAddresses()}
}

// quick are limits under which a test doesn't wait for long.
func quick() Limits {
	l := DefaultLimits()
	l.FindTimeout, l.PutTimeout = 8*time.Second, 8*time.Second
	l.MinBackoff, l.MaxBackoff = 20*time.Millisecond, 200*time.Millisecond
	l.ProbeEvery = 500 * time.Millisecond
	return l
}

// start runs a Node; the function it returns ends it and waits for Run.
func start(t *testing.T, h host.Host, mode Mode, limits Limits, bootstrap ...peer.AddrInfo) (*Node, func()) {
	t.Helper()
	return startWith(t, h, Config{Mode: mode, Bootstrap: bootstrap, Limits: limits})
}

func startWith(t *testing.T, h host.Host, cfg Config) (*Node, func()) {
	t.Helper()
	n, err := New(h, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return n, stop
}

// budget is the budget of one test's network operations.
func budget(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for something that has no event in the interface.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within a minute", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func putRecord(key string, raw []byte) *recpb.Record { return record.MakePutRecord(key, raw) }

// lie makes h a server that acknowledges every put and answers every question
// with value.
func lie(t *testing.T, h host.Host, value []byte) {
	t.Helper()
	h.SetStreamHandler(protocolPrefix+"/kad/1.0.0", func(s network.Stream) {
		defer s.Close()
		r := msgio.NewVarintReaderSize(s, network.MessageSizeMax)
		w := msgio.NewVarintWriter(s)
		for {
			raw, err := r.ReadMsg()
			if err != nil {
				return
			}
			msg := new(dht_pb.Message)
			if err := proto.Unmarshal(raw, msg); err != nil {
				return
			}
			if msg.GetType() == dht_pb.Message_GET_VALUE {
				msg.Record = putRecord(string(msg.GetKey()), value)
			}
			out, err := proto.Marshal(msg)
			if err != nil {
				return
			}
			if err := w.WriteMsg(out); err != nil {
				return
			}
		}
	})
}

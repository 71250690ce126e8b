package gateway_test

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"amesh/gateway"
	"amesh/gateway/amtp"
	"amesh/gateway/gatewaytest"
	"amesh/internal/outward"
)

// bait listens on loopback and counts who connects.
func bait(t *testing.T) (port string, connects *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	connects = new(atomic.Int32)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			connects.Add(1)
			_ = conn.Close()
		}
	}()
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, connects
}

// T80, checklist 89: neither a record nor a push target leads a gateway to a service of its
// own network. internal/outward has the list of spellings.
func TestNobodyLeadsTheGatewayInside(t *testing.T) {
	t.Parallel()
	port, connects := bait(t)
	hosts := []string{
		"127.0.0.1", "localhost", "0.0.0.0", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1.", "10.0.0.1", "169.254.169.254",
		"100.100.100.200", "192.168.1.1", "metadata.google.internal", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[fe80::1%25eth0]", "user@127.0.0.1",
	}
	n := gatewaytest.StartWith(t, func(c *gateway.Config) {
		c.Peers = outward.Config{HTTP: true, Ports: []uint16{80, 443}}
		c.Hooks = outward.Config{HTTP: true, Ports: []uint16{80, 443}}
		for i, host := range hosts {
			for _, scheme := range []string{"http", "https"} {
				c.Discovery.MockRecords[fmt.Sprintf("%s%d.test", scheme, i)] = "v=amtp1;gateway=" + scheme + "://" + host + ":" + port
			}
		}
	}, "a.test")
	g := n.At("a.test")
	alice := g.Register("alice")
	var to []string
	for i, host := range hosts {
		to = append(to, fmt.Sprintf("bob@http%d.test", i), fmt.Sprintf("bob@https%d.test", i))
		name := fmt.Sprintf("push%d", i)
		made := g.Admin("POST", "/v1/admin/agents", map[string]any{"address": name, "delivery_mode": "push", "push_target": "https://" + host + ":" + port})
		if made.Status == 201 {
			to = append(to, name+"@a.test")
		}
	}
	got := alice.Post(map[string]any{"recipients": to, "payload": 1})
	var sent amtp.SendResult
	got.Into(&sent)
	for _, r := range alice.Settled(sent.MessageID).Recipients {
		if r.Status != amtp.Failed || r.ErrorCode != amtp.CodeSSRFBlocked && r.ErrorCode != amtp.CodeInvalidGateway {
			t.Errorf("%s: %s %s %s", r.Address, r.Status, r.ErrorCode, r.ErrorMessage)
		}
		if strings.Contains(r.ErrorMessage, "10.0.0.1") {
			t.Errorf("%s: the text has an address: %s", r.Address, r.ErrorMessage)
		}
	}
	if connects.Load() != 0 {
		t.Errorf("%d connections inside", connects.Load())
	}
}

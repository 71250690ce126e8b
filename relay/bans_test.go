package relay

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"amesh/relay/ban"

	"github.com/coder/websocket"
)

func targetOf(t *testing.T, s string) ban.Target {
	t.Helper()
	target, err := ban.ParseTarget(s)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func (d *door) ban(b ban.Ban) {
	d.t.Helper()
	if err := d.server.Ban(b); err != nil {
		d.t.Fatal(err)
	}
}

// expelled reads the error frame and the close code of a ban.
func (c *raw) expelled() {
	c.t.Helper()
	c.want(object{"type": typeError, "code": CodeUnauthorized})
	if code := c.closed(); code != CloseBanned {
		c.t.Errorf("closed with %d, want %d", code, CloseBanned)
	}
}

func TestABannedAgentGoesAndStaysAway(t *testing.T) {
	d := openDoor(t, ServerConfig{})
	ann, bob := d.join(1, "127.0.0.1"), d.join(2, "127.0.0.1")
	d.ban(ban.Ban{Target: ban.Agent(ann.who), Until: time.Now().Add(time.Hour), Why: "secret"})
	if got := ann.want(object{"type": typeError, "code": CodeUnauthorized}); got["retry_after_seconds"] != 3600.0 {
		t.Errorf("told %v", got)
	}
	if code := ann.closed(); code != CloseBanned {
		t.Errorf("closed with %d", code)
	}
	again, _, err := d.ws("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	again.hello(1)
	again.expelled()
	// Mail for it is taken: whoever sends learns nothing of the ban.
	bob.send(ann.who, "kept", "")
	bob.quiet()
	if there, err := d.server.Unban(ban.Agent(ann.who)); !there || err != nil {
		t.Errorf("unban: %v, %v", there, err)
	}
	d.join(1, "127.0.0.1").want(object{"type": typeReceive, "encrypted_payload": "kept"})
	if n := d.server.Stats().BanCut; n != 2 {
		t.Errorf("%d connections ended by a ban", n)
	}
}

func TestABannedNetwork(t *testing.T) {
	var heard []string
	d := openDoor(t, ServerConfig{OnBan: func(t ban.Target) { heard = append(heard, t.String()) }, Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.9.9/32")}})
	in, out := d.join(1, "127.0.1.7"), d.join(2, "127.0.2.7")
	nameless, _, err := d.ws("127.0.1.8")
	if err != nil {
		t.Fatal(err)
	}
	half := d.tcp("127.0.1.9")
	proxied := d.join(3, "127.0.9.9", "X-Forwarded-For", "127.0.1.1")
	other := d.join(4, "127.0.9.9", "X-Forwarded-For", "127.0.2.1")
	d.room(2)
	d.ban(ban.Ban{Target: targetOf(t, "127.0.1.0/24")})
	in.expelled()
	nameless.expelled()
	proxied.expelled()
	gone(t, half)
	gone(t, d.tcp("127.0.1.200"))
	_, resp, err := d.ws("127.0.9.9", "X-Forwarded-For", "127.0.1.2")
	if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("through a proxy: %v, %v", resp, err)
	}
	out.quiet()
	other.quiet()
	if len(heard) != 1 || heard[0] != "127.0.1.0/24" {
		t.Errorf("beside the relay heard: %v", heard)
	}
}

// A peer that does not read is gone all the same.
func TestABannedPeerThatDoesNotRead(t *testing.T) {
	d := openDoor(t, ServerConfig{})
	deaf := d.join(1, "127.0.0.1")
	d.ban(ban.Ban{Target: ban.Agent(deaf.who)})
	until(t, "the deaf one is gone", func() bool { return d.server.Stats().Legacy == 0 })
	if code := deaf.closed(); code != CloseBanned && code != websocket.StatusCode(-1) {
		t.Errorf("closed with %d", code)
	}
}

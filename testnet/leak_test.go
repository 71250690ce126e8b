package testnet

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"amesh/identity"
	"amesh/node/api"
)

// These tests let the relay and the wire leak and require that the demo fails.

// scene is a demo at its end: alice and bob have names, and the proxy and the
// relay's folder hold what a case puts there.
func scene(t *testing.T) *demo {
	t.Helper()
	dir := t.TempDir()
	d := &demo{
		limits: defaultLimits(), dir: dir, said: wordsOf("a message", greeting),
		say:   &transcript{out: new(bytes.Buffer)},
		relay: &relayServer{data: filepath.Join(dir, "relay")},
		proxy: &proxy{limits: defaultLimits()},
	}
	for i, a := range []**agent{&d.alice, &d.bob} {
		sum := sha256.Sum256([]byte{byte(i)})
		*a = &agent{name: []string{"alice", "bob"}[i], id: api.Identity{AMID: identity.AMID(sum[:identity.AMIDSize])}}
	}
	put(t, filepath.Join(d.relay.data, "mailbox"), "for "+d.bob.amid()+": "+string(noise(100)))
	put(t, filepath.Join(dir, "relay.log"), "level=INFO msg=started\n")
	return d
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// masked is a client's text frame.
func masked(text string) string {
	mask := []byte{0xde, 0xad, 0xbe, 0xef}
	frame := []byte{0x81, 0x80 | 126, byte(len(text) >> 8), byte(len(text))}
	frame = append(frame, mask...)
	for i := range len(text) {
		frame = append(frame, text[i]^mask[i%4])
	}
	return string(frame)
}

// unmasked is a server's text frame.
func unmasked(text string) string {
	return string([]byte{0x81, 126, byte(len(text) >> 8), byte(len(text))}) + text
}

// wire is what passes when alice and bob connect and bob gets a message of alice.
func (d *demo) wire(toRelay, fromRelay string) []*carriedConn {
	down := unmasked(`{"type":"receive","from":"` + d.alice.amid() + `"}`)
	return []*carriedConn{
		{up: []byte(askUpgrade + masked(d.alice.amid()) + toRelay), down: []byte(upgraded)},
		{up: []byte(askUpgrade + masked(d.bob.amid())), down: []byte(upgraded + down + fromRelay)},
	}
}

func TestLeakOnTheWire(t *testing.T) {
	word := base64.StdEncoding.EncodeToString([]byte("x" + greeting))
	cases := []struct {
		name   string
		change func(d *demo)
		want   string // part of the error; empty: clean
	}{
		{"nothing leaks", func(*demo) {}, ""},
		{"word to the relay", func(d *demo) { d.proxy.conns = d.wire(masked("marmalade"), "") }, "connection 0 up, unmasked"},
		{"base64 to the relay", func(d *demo) { d.proxy.conns = d.wire(masked(word), "") }, "base64"},
		{"word from the relay", func(d *demo) { d.proxy.conns = d.wire("", unmasked("marmalade")) }, "connection 1 down"},
		{"word before the upgrade", func(d *demo) { d.proxy.conns[0].up = append([]byte("X-Intent: marmalade\r\n"), d.proxy.conns[0].up...) }, "connection 0 up, plain"},
		{"nothing was recorded", func(d *demo) { d.proxy.conns = nil }, "blind"},
		{"bob never connected", func(d *demo) { d.proxy.conns = d.proxy.conns[:1] }, "blind"},
		{"nothing was delivered", func(d *demo) { d.proxy.conns[1].down = []byte(upgraded) }, "blind"},
		{"recording is full", func(d *demo) { d.proxy.overflow = true }, "recording is full"},
		{"compressed", func(d *demo) {
			d.proxy.conns[1].down = bytes.Replace(d.proxy.conns[1].down, []byte("\r\n\r\n"), []byte("\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"), 1)
		}, "compressed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := scene(t)
			d.proxy.conns = d.wire("", "")
			c.change(d)
			var data searched
			hits, err := d.searchWire(mustSearcher(t, d.said...), mustSearcher(t, names(d.alice, d.bob)...), &data)
			if err == nil {
				err = leak(hits)
			}
			check(t, err, c.want)
		})
	}
}

// CP 9 and T55: what lies in the folder of a relay, and what it logs.
func TestLeakAtTheRelay(t *testing.T) {
	cases := []struct {
		name   string
		change func(t *testing.T, d *demo)
		want   string
	}{
		{"nothing leaks", func(*testing.T, *demo) {}, ""},
		{"word in the mailbox", func(t *testing.T, d *demo) { put(t, filepath.Join(d.relay.data, "x", "1.vlog"), "bicycles") }, "relay/x/1.vlog"},
		{"word in the log", func(t *testing.T, d *demo) { put(t, filepath.Join(d.dir, "relay.log"), "intent=marmalade") }, "relay.log"},
		{"empty folder", func(t *testing.T, d *demo) { put(t, filepath.Join(d.relay.data, "mailbox"), "") }, "nothing was searched"},
		{"no log", func(t *testing.T, d *demo) {
			if err := os.Remove(filepath.Join(d.dir, "relay.log")); err != nil {
				t.Fatal(err)
			}
		}, "nothing was searched"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := scene(t)
			c.change(t, d)
			var data searched
			hits, err := d.searchRelay(mustSearcher(t, d.said...), &data)
			if err == nil {
				err = leak(hits)
			}
			check(t, err, c.want)
		})
	}
}

func TestMailboxOfAKilledRelay(t *testing.T) {
	cases := []struct {
		name string
		text func(d *demo) string
		want string
	}{
		{"sealed mail, name in clear", func(d *demo) string { return d.bob.amid() + string(noise(500)) }, ""},
		{"sealed mail, name in bytes", func(d *demo) string { return string(d.bob.id.AMID[:]) + string(noise(500)) }, ""},
		{"a readable word", func(d *demo) string { return d.bob.amid() + "sleeper" }, "words were seen in 1 places"},
		{"bob's name is nowhere", func(*demo) string { return string(noise(500)) }, "cannot be searched"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := scene(t)
			put(t, filepath.Join(d.relay.data, "mailbox"), c.text(d))
			check(t, d.searchMailbox(), c.want)
		})
	}
}

func check(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil {
		t.Errorf("error is %v", err)
	}
	if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("error is %v, want %q in it", err, want)
	}
}

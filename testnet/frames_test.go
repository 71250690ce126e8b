package testnet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	askUpgrade = "GET /v1/connect HTTP/1.1\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
	upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The samples are those of RFC 6455 §5.7.
func TestFramesAsTheReceiverSawThem(t *testing.T) {
	long := strings.Repeat("x", 256)
	longer := strings.Repeat("y", 1<<16)
	cases := []struct {
		name   string
		header string
		stream string // hex of what follows the header
		want   []string
	}{
		{"nothing yet", upgraded, "", nil},
		{"text of a server", upgraded, "81 05 48 65 6c 6c 6f", []string{"Hello"}},
		{"masked text of a client", askUpgrade, "81 85 37 fa 21 3d 7f 9f 4d 51 58", []string{"Hello"}},
		{"a message in two frames", upgraded, "01 03 48 65 6c 80 02 6c 6f", []string{"Hel", "lo"}},
		{"ping and masked pong", upgraded, "89 05 48 65 6c 6c 6f 8a 85 37 fa 21 3d 7f 9f 4d 51 58", []string{"Hello", "Hello"}},
		{"256 bytes", upgraded, "82 7e 01 00" + hex.EncodeToString([]byte(long)), []string{long}},
		{"64 KiB", upgraded, "82 7f 00 00 00 00 00 01 00 00" + hex.EncodeToString([]byte(longer)), []string{longer}},
		{"empty frame between", upgraded, "81 00 81 01 61", []string{"", "a"}},
		{"cut in the payload", upgraded, "81 05 48 65", []string{"He"}},
		{"cut in a masked payload", askUpgrade, "81 85 37 fa 21 3d 7f 9f", []string{"He"}},
		{"cut in the mask", askUpgrade, "81 85 37 fa", []string{""}},
		{"cut in the short length", upgraded, "82", []string{""}},
		{"cut in the long length", upgraded, "82 7f 00 00 00", []string{""}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := unframe(append([]byte(c.header), unhex(t, c.stream)...))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range s.frames {
				got = append(got, string(f))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatCannotBeTakenApart(t *testing.T) {
	cases := []struct {
		name, stream string
		want         error
	}{
		{"compression was agreed on", strings.Replace(upgraded, "\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 1), errCompressed},
		{"plain HTTP", "GET / HTTP/1.1\r\nHost: relay\r\n\r\n", errNotWebSocket},
		{"reserved bit", upgraded + "\xc1\x01a", errNotWebSocket},
		{"header that never ended", "GET /v1/conn", nil},
		{"no byte at all", "", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := unframe([]byte(c.stream))
			if !errors.Is(err, c.want) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
			if len(s.frames) > 0 {
				t.Errorf("%d frames", len(s.frames))
			}
		})
	}
}

// The reason why the wire is searched twice.
func TestMaskedWordIsFoundOnlyUnmasked(t *testing.T) {
	word := []byte("marmalade")
	mask := []byte{0x37, 0xfa, 0x21, 0x3d}
	stream := append([]byte(askUpgrade), 0x81, 0x80|byte(len(word)))
	stream = append(stream, mask...)
	for i, c := range word {
		stream = append(stream, c^mask[i%4])
	}
	s := mustSearcher(t, needle{"a message", word})
	if hits, _, err := s.scan("raw", bytes.NewReader(stream), 64); err != nil || len(hits) != 0 {
		t.Errorf("raw: %v, %v", hits, err)
	}
	clear, err := unframe(stream)
	if err != nil {
		t.Fatal(err)
	}
	hits, _, err := s.scan("unmasked", bytes.NewReader(clear.frames[0]), 64)
	if err != nil || len(hits) != 1 {
		t.Errorf("unmasked: %v, %v", hits, err)
	}
}

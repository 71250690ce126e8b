package relay

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The first byte of WebSocket frames (RFC 6455 §5.2).
const (
	finText    = 0x81
	finBinary  = 0x82
	finClose   = 0x88
	finPing    = 0x89
	fin        = 0x80 // continues and ends a message
	beginsText = 0x01 // begins one
	continues  = 0x00
)

// wsFrame is a frame as a client sends it, masked with zeros.
func wsFrame(first byte, payload string) string {
	head := []byte{first}
	switch n := len(payload); {
	case n < 126:
		head = append(head, 0x80|byte(n))
	case n < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, 0x80|126), uint16(n))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 0x80|127), uint64(n))
	}
	return string(append(head, 0, 0, 0, 0)) + payload
}

const (
	ignored = "" // the connection goes on as if nothing had come
	refused = "refused with a word and 1008"
)

// T52 and T53: bytes that are no frame of this protocol are ignored or end the
// connection, with the same answer each time, and nothing of it stays.
func TestBadBytes(t *testing.T) {
	text := func(s string) string { return wsFrame(finText, s) }
	send := func(payload string) string {
		return `{"type":"send","to":"2Uq51iFVLnqmgbVY3vLZtMD5PR87","message_type":"message","encrypted_payload":` + payload + `}`
	}
	const oversized = 512<<10 + 1
	cases := []struct {
		name, bytes string
		// before and after the client is connected as an agent
		before, after string
	}{
		{"nothing", text(""), refused, ignored},
		{"space", text(" \n"), refused, ignored},
		{"no JSON", text("hello"), refused, ignored},
		{"a number", text("7"), refused, ignored},
		{"a list", text(`[{"type":"ping"}]`), refused, ignored},
		{"null", text("null"), refused, ignored},
		{"two objects", text(`{"type":"get_pending_messages"}{"type":"get_pending_messages"}`), refused, ignored},
		{"half an object", text(`{"type":"get_pending_messages"`), refused, ignored},
		{"a byte order mark", text("\ufeff" + `{"type":"get_pending_messages"}`), refused, ignored},
		{"no type", text(`{"timestamp":"2026-02-01T12:00:00Z"}`), refused, ignored},
		{"type of another type", text(`{"type":["ping"],"timestamp":"2026-02-01T12:00:00Z"}`), refused, ignored},
		{"type in capitals", text(`{"Type":"get_pending_messages"}`), refused, ignored},
		{"unknown type", text(`{"type":"teleport"}`), refused, ignored},
		{"a frame of the relay's", text(`{"type":"receive","from":"a","encrypted_payload":"x","message_type":"message"}`), refused, ignored},
		{"connect without key", text(`{"type":"connect","protocol":"agentmesh/0.2","amid":"a","signature":"s","timestamp":"t"}`), refused, ignored},
		{"payload missing", text(`{"type":"send","to":"2Uq51iFVLnqmgbVY3vLZtMD5PR87","message_type":"message"}`), refused, ignored},
		{"payload null", text(send("null")), refused, ignored},
		{"payload a number", text(send("1e999")), refused, ignored},
		{"payload an object", text(send(`{"a":1}`)), refused, ignored},
		{"payload cut in an escape", text(send(`"\u12"`)), refused, ignored},
		{"payload with a raw line break", text(send("\"a\nb\"")), refused, ignored},
		{"huge number", text(`{"type":"teleport","n":` + strings.Repeat("9", 100_000) + `}`), refused, ignored},
		{"impossible exponent", text(`{"type":"teleport","n":1e999999999}`), refused, ignored},
		{"deep nesting", text(`{"type":"get_pending_messages","x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`), refused, ignored},
		{"deep and open", text(strings.Repeat(`{"type":`, 50_000)), refused, ignored},
		{"many members", text(`{"type":"teleport"` + strings.Repeat(`,"a":0`, 50_000) + `}`), refused, ignored},
		{"no UTF-8", text("{\"type\":\"get_pending_messages\",\"x\":\"\xff\"}"), refused, ignored},
		{"surrogates in UTF-8", text("{\"type\":\"get_pending_messages\",\"x\":\"\xed\xa0\x80\"}"), refused, ignored},
		{"binary", wsFrame(finBinary, `{"type":"get_pending_messages"}`), refused, ignored},
		{"too long by one", text(strings.Repeat(" ", oversized)), "closed 1009", "closed 1009"},
		{"too long in pieces", wsFrame(beginsText, strings.Repeat(" ", oversized-1)) + wsFrame(fin, " "), "closed 1009", "closed 1009"},
		{"a length that has no end", "\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00" + strings.Repeat(" ", oversized), "closed 1009", "closed 1009"},
		{"a negative length", "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", "closed 1009", "closed 1009"},
		{"compressed", wsFrame(finText|0x40, "\xaa\x56\x2a\xa9\x2c\x48\x05\x00"), "closed 1002", "closed 1002"},
		{"second reserved bit", wsFrame(finText|0x20, "{}"), "closed 1002", "closed 1002"},
		{"unknown opcode", wsFrame(0x83, "{}"), "closed 1002", "closed 1002"},
		{"not masked", "\x81\x02{}", "closed 1002", "closed 1002"},
		{"continues nothing", wsFrame(fin, "{}"), "closed 1002", "closed 1002"},
		{"text inside a text", wsFrame(beginsText, "{") + text("}"), "closed 1002", "closed 1002"},
		{"ping in pieces", wsFrame(finPing&^fin, "x"), "closed 1002", "closed 1002"},
		{"ping too long", wsFrame(finPing, strings.Repeat("x", 126)), "closed 1002", "closed 1002"},
		{"close of one byte", wsFrame(finClose, "x"), "closed 1002", "closed 1002"},
		{"close with a code that is none", wsFrame(finClose, "\x03\xed"), "closed 1002", "closed 1002"},
	}
	for _, c := range cases {
		for _, state := range []struct {
			name, want string
			connected  bool
		}{{"before", c.before, false}, {"after", c.after, true}} {
			t.Run(c.name+" "+state.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { badBytes(t, c.bytes, state.want, state.connected) })
			})
		}
	}
}

func badBytes(t *testing.T, bytes, want string, connected bool) {
	s := newStage(t, DefaultLimits())
	defer s.close()
	b := s.bare()
	defer b.Close()
	if connected {
		b.connect(1)
	}
	b.say(bytes)
	switch want {
	case ignored:
		b.alive()
		b.say(wsFrame(finClose, "\x03\xe8"))
		b.wants("closed 1000")
	case refused:
		b.wants(string(encode(errorOf(CodeInvalidMessage, "the first frame must be connect", 0))))
		b.wants("closed 1008")
	default:
		b.wants(want)
	}
	// The client does not answer the close, nor does it hang up.
	time.Sleep(s.limits.CloseWait)
	synctest.Wait()
	server := s.server.Load()
	server.mu.Lock()
	defer server.mu.Unlock()
	if len(server.open) != 0 || len(server.online) != 0 || server.pending != 0 {
		t.Errorf("%d connections are still here", len(server.open))
	}
}

// Messages may come in pieces, with pings between them, and control frames are answered.
func TestPiecesAndPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, DefaultLimits())
		defer s.close()
		b := s.bare()
		defer b.Close()
		b.connect(1)
		b.say(wsFrame(beginsText, `{"type":"pi`) + wsFrame(finPing, "beat") + wsFrame(continues, "") + wsFrame(continues, `ng","timestamp":"2026-02-01T`))
		b.wants("pong beat")
		b.say(wsFrame(fin, `12:00:00Z"}`))
		b.wants(`{"type":"pong","timestamp":"2026-02-01T12:00:00Z"}`)
		b.alive()
	})
}

// A message that never ends is no way to stay: whoever is in the middle of one
// cannot answer a ping.
func TestHalfAFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, DefaultLimits())
		defer s.close()
		b := s.bare()
		defer b.Close()
		b.connect(1)
		b.say(wsFrame(finText, strings.Repeat(" ", 100))[:50])
		time.Sleep(s.limits.PingEvery + s.limits.PingEvery/5 + s.limits.PongWait)
		b.wants("closed 1008")
	})
}

// bare is a client below WebSockets: it says bytes, and hears messages, pongs and the
// close, which it does not answer.
type bare struct {
	net.Conn
	t     *testing.T
	heard chan string
}

func (s *stage) bare() *bare {
	s.t.Helper()
	c, err := s.network.dial(context.Background(), "", "")
	if err != nil {
		s.t.Fatal(err)
	}
	b := &bare{Conn: c, t: s.t, heard: make(chan string, 100)}
	// Both SDKs' libraries offer compression or may; a relay that took it up would
	// have to bound what a few bytes unfold to.
	b.say("GET /v1/connect HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n")
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Extensions") != "" {
		s.t.Fatalf("upgrade: %v, %v", resp, err)
	}
	go b.listen(in)
	return b
}

func (b *bare) listen(in *bufio.Reader) {
	for {
		var head [2]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		n := int(head[1])
		if n == 126 {
			var long [2]byte
			if _, err := io.ReadFull(in, long[:]); err != nil {
				return
			}
			n = int(binary.BigEndian.Uint16(long[:]))
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		switch head[0] {
		case finText:
			b.heard <- sessionID.ReplaceAllString(string(payload), `"session_id":"*"`)
		case finClose:
			b.heard <- fmt.Sprint("closed ", binary.BigEndian.Uint16(payload))
		case 0x8a:
			b.heard <- "pong " + string(payload)
		}
	}
}

// say sends bytes. The relay may hang up before the last of them.
func (b *bare) say(bytes string) {
	_, _ = b.Write([]byte(bytes))
}

func (b *bare) wants(text string) {
	b.t.Helper()
	synctest.Wait()
	select {
	case got := <-b.heard:
		if got != text {
			b.t.Fatalf("heard %s, want %s", got, text)
		}
	default:
		b.t.Fatalf("heard nothing, want %s", text)
	}
}

func (b *bare) connect(n byte) {
	b.t.Helper()
	b.say(wsFrame(finText, string(encode(signed(testKey(b.t, n), "2026-02-01T12:00:00Z", "2026-02-01T12:00:00Z")))))
	b.wants(`{"type":"connected","session_id":"*","pending_messages":0}`)
}

// alive proves that the connection goes on and that nothing else came.
func (b *bare) alive() {
	b.t.Helper()
	b.say(wsFrame(finText, `{"type":"ping","timestamp":"2026-02-01T12:00:00Z"}`))
	b.wants(`{"type":"pong","timestamp":"2026-02-01T12:00:00Z"}`)
}

package relay

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// masked is a frame of a client whose mask changes nothing.
func masked(op byte, payload []byte) []byte {
	b := []byte{0x80 | op, 0x80 | 126}
	if len(payload) < 126 {
		b[1] = 0x80 | byte(len(payload))
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// unmasked reads a frame of the server.
func unmasked(t *testing.T, r io.Reader) string {
	t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	n := int(head[1])
	if n == 126 {
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatal(err)
		}
		n = int(binary.BigEndian.Uint16(head))
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		t.Fatal(err)
	}
	return string(payload)
}

// A frame is handled when it has come, also if a control frame comes with it, such as
// the answer to the relay's own ping.
func TestFrameBesideAControlFrameIsHandled(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	conn, err := net.Dial("tcp", h.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	r := bufio.NewReader(conn)
	answer, err := http.ReadResponse(r, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", answer, err)
	}
	_ = answer.Body.Close()
	stamp := jsStamp()
	connect := encode(signed(testKey(t, 1), stamp, stamp))
	const pong, text = 10, 1
	if _, err := conn.Write(append(masked(pong, nil), masked(text, connect)...)); err != nil {
		t.Fatal(err)
	}
	if got := unmasked(t, r); !strings.Contains(got, `"type":"connected"`) {
		t.Fatalf("got %s", got)
	}
	ask := masked(text, []byte(`{"type":"ping","timestamp":"2026-11-20T09:22:47Z"}`))
	for range 3 {
		if _, err := conn.Write(append(append([]byte{}, ask...), masked(pong, nil)...)); err != nil {
			t.Fatal(err)
		}
		if got := unmasked(t, r); !strings.Contains(got, `"type":"pong"`) {
			t.Fatalf("got %s", got)
		}
	}
}

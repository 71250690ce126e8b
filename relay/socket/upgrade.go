package socket

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"
)

// acceptGUID is what a key is hashed with (RFC 6455 §1.3).
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// Upgrade answers a client's handshake and takes its connection away from net/http,
// whose buffers go when the handler returns. It offers no subprotocol and no
// extension, and does not look at the origin: that protects cookies, and whoever
// needs it checks it first. Headers that are set already go with the answer. limit is the longest message, in bytes. A client that
// did not ask properly has been answered when Upgrade returns an error.
func Upgrade(w http.ResponseWriter, r *http.Request, limit int) (*Conn, error) {
	key, status, err := checkRequest(r)
	if err != nil {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Sec-WebSocket-Version", "13")
		http.Error(w, err.Error(), status)
		return nil, err
	}
	w.Header().Set("Upgrade", "websocket")
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Sec-WebSocket-Accept", AcceptKey(key))
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	ahead, _ := rw.Reader.Peek(rw.Reader.Buffered())
	return New(conn, ahead, limit), nil
}

// Accept is Upgrade for a connection that no http.Server has, of which r was read,
// and ahead behind it. The answer has the headers h. What Check refuses is not answered
// at all.
func Accept(conn net.Conn, ahead []byte, r *http.Request, h http.Header, limit int) (*Conn, error) {
	key, _, err := checkRequest(r)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
	b.WriteString(AcceptKey(key))
	b.WriteString("\r\n")
	_ = h.Write(&b) // into memory
	b.WriteString("\r\n")
	if _, err := conn.Write(b.Bytes()); err != nil {
		return nil, err
	}
	return New(conn, ahead, limit), conn.SetDeadline(time.Time{})
}

// Check says why a request is no upgrade as RFC 6455 has it.
func Check(r *http.Request) error {
	_, _, err := checkRequest(r)
	return err
}

// AcceptKey is the Sec-WebSocket-Accept that answers a Sec-WebSocket-Key.
func AcceptKey(key string) string {
	sum := sha1.Sum([]byte(key + acceptGUID))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// checkRequest is RFC 6455 §4.2.1.
func checkRequest(r *http.Request) (key string, status int, err error) {
	switch {
	case r.Method != http.MethodGet:
		return "", http.StatusMethodNotAllowed, errors.New("an upgrade is a GET")
	case !r.ProtoAtLeast(1, 1) || !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket"):
		return "", http.StatusUpgradeRequired, errors.New("not an upgrade to a WebSocket")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return "", http.StatusUpgradeRequired, errors.New("only version 13 of WebSocket is spoken")
	}
	keys := r.Header.Values("Sec-WebSocket-Key")
	if len(keys) != 1 {
		return "", http.StatusBadRequest, errors.New("one Sec-WebSocket-Key is needed")
	}
	key = strings.TrimSpace(keys[0])
	if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != 16 {
		return "", http.StatusBadRequest, errors.New("Sec-WebSocket-Key is not base64 of 16 bytes")
	}
	return key, 0, nil
}

// hasToken reports whether a list in a header has a word.
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for word := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(word), token) {
				return true
			}
		}
	}
	return false
}

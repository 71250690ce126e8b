package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"amesh/identity"
	"amesh/internal/dialled"
	"amesh/internal/timestamp"

	"github.com/coder/websocket"
)

var errMute = errors.New("no answer to connect")

// introduce sends the connect frame and takes the answer. The header is that of the
// relay's answer to the upgrade.
func (c *Client) introduce(ctx context.Context, ws *websocket.Conn, h http.Header) (State, error) {
	hello, err := c.connectFrame(h)
	if err != nil {
		return State{}, err
	}
	if err = ws.Write(ctx, websocket.MessageText, encode(hello)); err != nil {
		return State{}, fmt.Errorf("connect: %w", err)
	}
	_, data, err := ws.Read(ctx)
	if err != nil {
		if websocket.CloseStatus(err) == CloseUnauthorized {
			return State{}, &AuthError{Message: "closed without a reason"}
		}
		// The Rust relay refuses by hanging up without a word.
		return State{}, fmt.Errorf("%w: %w", errMute, err)
	}
	frame, err := parseRelayFrame(data)
	switch f := frame.(type) {
	case connectedFrame:
		return c.admitted(hello, f)
	case errorFrame:
		return State{}, authError(f)
	}
	return State{}, fmt.Errorf("unexpected answer to connect: %w", errors.Join(errMalformed, err))
}

// connectFrame says who we are, bound to the relay's challenge if it set one. It
// returns ErrLegacyRelay, ErrLegacyHeld or ErrDowngrade where a frame without would be a risk that
// nobody took.
func (c *Client) connectFrame(h http.Header) (connectFrame, error) {
	f := connectFrame{
		Type: typeConnect, Protocol: protocol02, AMID: c.who.String(), PublicKey: c.key.Public().Text(),
		Extensions: c.extensions(),
	}
	challenge, err := challengeOf(h)
	if err == nil {
		f.Timestamp, f.Relay = timestamp.ToSign(time.Now()), c.id
		f.Extensions = append([]Extension{ExtensionChallenge, ExtensionEpoch}, f.Extensions...)
		err = prove(c.key, &f, challenge)
		return f, err
	}
	switch {
	case c.isPinned():
		return connectFrame{}, fmt.Errorf("%w: %w", ErrDowngrade, err)
	case !errors.Is(err, errNoChallenge):
		return connectFrame{}, err
	case !c.legacy:
		return connectFrame{}, ErrLegacyRelay
	case c.hold != nil && c.hold():
		return connectFrame{}, ErrLegacyHeld
	}
	f.Timestamp = timestamp.ToSign(c.freshStamp())
	f.Signature = signatureText(c.key.SignTimestamp(f.Timestamp))
	return f, nil
}

// extensions are what this client speaks on every relay.
func (c *Client) extensions() []Extension {
	all := []Extension{ExtensionAck, ExtensionBinary, ExtensionAllow}
	if c.onExpired != nil {
		all = append(all, ExtensionExpired)
	}
	if c.hidden {
		all = append(all, ExtensionHidden)
	}
	return all
}

// admitted reads what the relay says of the connection. Only what we named counts.
func (c *Client) admitted(hello connectFrame, f connectedFrame) (State, error) {
	agreed := agree(f.Extensions, hello.Extensions)
	s := State{Connected: true, Session: f.SessionID, Pending: f.Pending, Extensions: agreed}
	if hello.proves() {
		if !s.Speaks(ExtensionChallenge) {
			return State{}, fmt.Errorf("%w: the challenge was not confirmed", ErrDowngrade)
		}
		c.pin()
	}
	s.STUN = stunAt(f.STUN, c.id)
	if s.Speaks(ExtensionExpired) {
		var err error
		if s.RelayKey, err = identity.ParsePublicKeyText(f.RelayKey); err != nil {
			return State{}, fmt.Errorf("relay_key: %w", err)
		}
	}
	if s.Speaks(ExtensionEpoch) && f.Mark != "" {
		var err error
		if s.Mark, err = c.ownMark(f.Mark); err != nil {
			c.log.Warn("the relay's rollback mark is not ours; it counts as none", "err", err)
		}
	}
	return s, nil
}

func (c *Client) isPinned() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pinned
}

func (c *Client) pin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pinned = true
}

// stunAt completes what a relay says of its STUN server; it is empty for what is no
// HOST:PORT.
func stunAt(told, relay string) string {
	host, port, err := net.SplitHostPort(told)
	if err != nil {
		return ""
	}
	if host == "" {
		host, _, _ = net.SplitHostPort(relay)
	}
	at, _ := dialled.ID(host, port)
	return at
}

// authError tells a refusal of our identity from a relay in trouble.
func authError(f errorFrame) error {
	text := strings.TrimSpace(f.Message)
	if text == "" {
		text = f.Error
	}
	if f.Code == CodeInternalError || f.Code == CodeRateLimited {
		return fmt.Errorf("relay not ready: %s: %.200s", f.Code, text)
	}
	return &AuthError{Code: f.Code, Message: text}
}

// freshStamp never gives the same second twice: Ed25519 is deterministic, and a
// relay refuses a signature that it has seen. A second or two ahead is within
// every relay's minute.
func (c *Client) freshStamp() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now().Truncate(time.Second)
	if !now.After(c.stamp) && c.stamp.Sub(now) < 30*time.Second {
		now = c.stamp.Add(time.Second)
	}
	c.stamp = now
	return now
}

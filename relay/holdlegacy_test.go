package relay

import (
	"errors"
	"net/http"
	"testing"
)

// What is signed for a relay of plain 0.2 can be used at a registry: as long as the
// caller says so, nothing is signed for one. Others are not held.
func TestLegacyRelayIsHeld(t *testing.T) {
	held := true
	c := &Client{key: testKey(t, 1), legacy: true, hold: func() bool { return held }, limits: DefaultLimits()}
	if f, err := c.connectFrame(http.Header{}); !errors.Is(err, ErrLegacyHeld) || f.Signature != "" {
		t.Errorf("held: %+v, %v", f, err)
	}
	held = false
	if f, err := c.connectFrame(http.Header{}); err != nil || f.Signature == "" {
		t.Errorf("not held: %+v, %v", f, err)
	}
	c.legacy, held = false, true
	if _, err := c.connectFrame(http.Header{}); !errors.Is(err, ErrLegacyRelay) {
		t.Errorf("not allowed at all: %v", err)
	}
}

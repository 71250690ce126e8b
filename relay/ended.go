package relay

import (
	"errors"

	"github.com/coder/websocket"
)

// ended is why a connection ended, for the log. What the peer wrote into its close
// frame stays out of it: that may be anything, a pair of AMIDs for one (T55).
func ended(err error) string {
	if e, ok := errors.AsType[websocket.CloseError](err); ok {
		return "closed by the peer: " + e.Code.String()
	}
	return err.Error()
}

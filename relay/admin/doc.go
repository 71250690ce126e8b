// Package admin is the door of a relay's operator: HTTP and JSON on a unix socket in
// the relay's data folder, which only its user can open. Behind it are the busiest
// agents and addresses, the bans, and the end of the relay's work.
package admin

import "time"

// SocketFile is the name of the socket in the data folder.
const SocketFile = "relay.sock"

const (
	// longestPath is the longest path of a socket, in bytes; systems differ a little.
	longestPath = 100
	// maxBody is the longest request body.
	maxBody = 64 << 10
	// maxRows is how many rows one request may ask for.
	maxRows = 1000
	// headerWait and idleWait bound a connection of the door.
	headerWait = 5 * time.Second
	idleWait   = time.Minute
	// closeWait is the time for requests to end when the door closes.
	closeWait = time.Second
	// maxDrain is the longest time for a drain.
	maxDrain = 24 * time.Hour
	// answerWait is the client's time for an answer, but for that of a drain.
	answerWait = 10 * time.Second
)

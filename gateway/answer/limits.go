package answer

import "time"

const (
	// MaxBody is how much of an answer's body is read, in bytes.
	MaxBody = 64 << 10
	// MaxText is how much of what an answer says is kept, in bytes.
	MaxText = 256
	// MaxWait is the longest Retry-After that is honoured.
	MaxWait = time.Hour
)

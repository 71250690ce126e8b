package node

import "time"

var started = time.Now()

// sinceStart is the time for which the process was running and the machine awake.
func sinceStart() time.Duration { return time.Since(started) }

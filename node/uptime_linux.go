package node

import (
	"time"

	"golang.org/x/sys/unix"
)

// uptime is the time since the machine started. Unlike the clock behind time.Since it
// runs on while the machine sleeps, so that waking up is no jump of the wall clock.
func uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return sinceStart()
	}
	return time.Duration(t.Nano())
}

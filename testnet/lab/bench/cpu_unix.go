//go:build unix

package bench

import (
	"syscall"
	"time"
)

// CPU is the processor time that this process has used, its garbage collector
// included. Unlike the time on the wall it does not count what other processes
// took of the machine meanwhile.
func CPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // only for a bad argument
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

//go:build unix

package doctor

import "syscall"

// fileLimit is how many files this process may have open; the Go runtime has raised the
// soft limit to the hard one already.
func fileLimit() (int, bool) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	return int(min(uint64(l.Cur), 1<<30)), true
}

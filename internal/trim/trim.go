// Package trim lets a process start with more memory than it runs with. While it starts
// garbage lies where it is; then that is given back, and the pages of the program itself.
// Of a program of 50 MB the start runs through the initialisation of every package, and
// each step maps the 64 KiB around it; an idle node lives in a fifth of that.
package trim

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// startPercent is how much garbage there may be while a process starts, of what is in use.
// With the usual 100 a node of 10 MB collects three times on its way, for a quarter of the
// processor time of its start.
const startPercent = 400

// Start lets garbage lie until the function that it returns is called, which may be done
// more than once. Who has asked for less collecting with GOGC gets that.
func Start() (over func()) {
	before := debug.SetGCPercent(startPercent)
	if before < 0 || before > startPercent {
		debug.SetGCPercent(before)
		return func() {}
	}
	return sync.OnceFunc(func() { debug.SetGCPercent(before) })
}

// busyPercent is how much garbage there may be in a server that makes some with every
// request and keeps little of it. With the usual 100 a gateway collects for a tenth of
// its processor time.
const busyPercent = 200

// Busy lets that much garbage lie from now on. Who has asked for less or more collecting
// with GOGC gets that.
func Busy() {
	if before := debug.SetGCPercent(busyPercent); before != usualPercent {
		debug.SetGCPercent(before)
	}
}

// usualPercent is what a program has that nobody has asked for anything.
const usualPercent = 100

// errUnsupported says that this system offers no way to it.
var errUnsupported = errors.New("not supported on this system")

// Memory collects garbage, returns what is free to the system, and forgets where in
// memory the program's own code and constants are. The latter come back from the
// system's cache of the file as they are needed, without reading the disk unless the system
// needed the memory meanwhile. It takes some 10 ms.
func Memory() error {
	debug.FreeOSMemory()
	if err := program(); err != nil && !errors.Is(err, errUnsupported) {
		return fmt.Errorf("trim memory: %w", err)
	}
	return nil
}

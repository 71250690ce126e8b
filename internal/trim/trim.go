// Package trim gives back the memory that a process needed for starting and does not need
// for running: garbage, and the pages of the program itself. Of a program of 50 MB the
// start runs through the initialisation of every package, and each step maps the
// 64 KiB around it; an idle node lives in a fifth of that.
package trim

import (
	"errors"
	"fmt"
	"runtime/debug"
)

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

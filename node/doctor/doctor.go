// Package doctor looks a node over: its home folder, the machine, and what the node
// says of itself. Each check is one small function that changes nothing and gives one
// api.Check, with a next step wherever something is to be done. It needs no running
// node; what only a node knows is handed to it.
//
// A check fails when something does not work, and warns when it works, but not as it
// should or not for long.
package doctor

import (
	"fmt"

	"amesh/node/api"
)

// count is a number with its noun.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func ok(name, format string, args ...any) api.Check {
	return api.Check{Name: name, State: api.CheckOK, Text: fmt.Sprintf(format, args...)}
}

func skip(name, format string, args ...any) api.Check {
	return api.Check{Name: name, State: api.CheckSkip, Text: fmt.Sprintf(format, args...)}
}

func warn(name, next, format string, args ...any) api.Check {
	return api.Check{Name: name, State: api.CheckWarn, Text: fmt.Sprintf(format, args...), Next: next}
}

func fail(name, next, format string, args ...any) api.Check {
	return api.Check{Name: name, State: api.CheckFail, Text: fmt.Sprintf(format, args...), Next: next}
}

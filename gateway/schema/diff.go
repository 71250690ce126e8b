package schema

import (
	"fmt"
	"strings"
)

// Breaks says who is hurt by a change.
type Breaks string

const (
	// BreaksNothing is a change that neither side notices.
	BreaksNothing Breaks = "none"
	// BreaksBackward: something that was valid no longer is.
	BreaksBackward Breaks = "backward"
	// BreaksForward: something becomes valid that was not.
	BreaksForward Breaks = "forward"
	// BreaksBoth is both.
	BreaksBoth Breaks = "both"
)

func (b Breaks) backward() bool { return b == BreaksBackward || b == BreaksBoth }
func (b Breaks) forward() bool  { return b == BreaksForward || b == BreaksBoth }

// Change is one difference between two definitions.
type Change struct {
	// Pointer is the place in the definition, of the new one unless the place is
	// gone (RFC 6901).
	Pointer string `json:"pointer"`
	// Kind is what changed: added, removed, required, type, enum, bounds, format,
	// rule.
	Kind string `json:"kind"`
	// Keyword is the keyword at the place.
	Keyword string `json:"keyword"`
	// Old and New are what stood there, when it is short.
	Old     any    `json:"old,omitempty"`
	New     any    `json:"new,omitempty"`
	Breaks  Breaks `json:"breaks"`
	Message string `json:"message"`
	// Unknown says that the effect could not be worked out; it counts as breaking.
	Unknown bool `json:"unknown,omitempty"`
	// Undeclared says that it breaks only for members which one of the definitions
	// does not name. It counts in strict mode.
	Undeclared bool `json:"only_undeclared,omitempty"`
}

// maxChanges is how many changes a Diff lists.
const maxChanges = 100

// Diff is what happened between two definitions.
type Diff struct {
	Changes []Change `json:"changes"`
	// Omitted is how many more changes there were; they count all the same.
	Omitted int `json:"omitted,omitempty"`

	backward, forward             bool // broken
	strictBackward, strictForward bool // broken, with what is undeclared
}

func (d *Diff) add(c Change) {
	if c.Breaks.backward() {
		d.strictBackward = true
		d.backward = d.backward || !c.Undeclared
	}
	if c.Breaks.forward() {
		d.strictForward = true
		d.forward = d.forward || !c.Undeclared
	}
	if len(d.Changes) >= maxChanges {
		d.Omitted++
		return
	}
	d.Changes = append(d.Changes, c)
}

// Allows reports whether mode permits the change.
func (d Diff) Allows(mode Mode, strict bool) bool {
	backward, forward := !d.backward, !d.forward
	if strict {
		backward, forward = !d.strictBackward, !d.strictForward
	}
	switch mode {
	case ModeNone:
		return true
	case ModeForward:
		return forward
	case ModeFull:
		return backward && forward
	default:
		return backward
	}
}

// IncompatibleError says that a definition breaks what its mode protects.
type IncompatibleError struct {
	// From is what the definition was compared with; To has the new definition.
	From, To ID
	Mode     Mode
	Strict   bool
	Diff     Diff
}

func (e *IncompatibleError) Error() string {
	var why []string
	for _, c := range e.Diff.Changes {
		one := Diff{}
		one.add(c)
		if !one.Allows(e.Mode, e.Strict) && len(why) < 3 {
			why = append(why, c.Pointer+": "+c.Message)
		}
	}
	return fmt.Sprintf("the new definition of %s is not %s compatible with that of %s: %s", e.To, e.Mode, e.From, strings.Join(why, "; "))
}

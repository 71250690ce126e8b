package sim

import (
	"fmt"
	"strings"
	"testing"
)

// hearing takes down what a run says to its test, so that a run which fails can be
// played again before anybody is told.
type hearing struct {
	testing.TB
	lines []string
	bad   bool
}

// stopped is the panic that ends a run which cannot go on.
type stopped struct{}

// listen runs f until it ends or fails for good.
func (h *hearing) listen(f func()) {
	defer func() {
		if r := recover(); r != nil && r != (stopped{}) {
			panic(r)
		}
	}()
	f()
}

// said is all that was said by a run that failed, nothing by a good one.
func (h *hearing) said() string {
	if !h.bad {
		return ""
	}
	return strings.Join(h.lines, "\n")
}

func (h *hearing) Helper() {}

func (h *hearing) Log(args ...any) {
	h.lines = append(h.lines, strings.TrimSuffix(fmt.Sprintln(args...), "\n"))
}

func (h *hearing) Fail() { h.bad = true }

func (h *hearing) Errorf(format string, args ...any) {
	h.Fail()
	h.Log(fmt.Sprintf(format, args...))
}

func (h *hearing) Fatal(args ...any) {
	h.Fail()
	h.Log(args...)
	panic(stopped{})
}

func (h *hearing) Fatalf(format string, args ...any) { h.Fatal(fmt.Sprintf(format, args...)) }

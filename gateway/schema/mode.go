package schema

import "fmt"

// Mode says what a new definition may not break.
type Mode string

const (
	// ModeNone allows every change.
	ModeNone Mode = "none"
	// ModeBackward: what was valid stays valid, so senders need not change.
	ModeBackward Mode = "backward"
	// ModeForward: what becomes valid was valid before, so readers need not change.
	ModeForward Mode = "forward"
	// ModeFull is both.
	ModeFull Mode = "full"
)

// ParseMode reads the name of a mode.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case ModeNone, ModeBackward, ModeForward, ModeFull:
		return m, nil
	}
	return "", fmt.Errorf("compatibility mode %q: want none, backward, forward or full", s)
}

func (m Mode) orBackward() Mode {
	if m == "" {
		return ModeBackward
	}
	return m
}

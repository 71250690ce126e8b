package knock

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"amesh/internal/content"
)

// What a policy says of sessions: how they are signed and what they may carry. It
// holds for sessions that are made from now on, since an accept cannot be changed.

// AskMode is the mode that our own knocks ask for.
func (p Policy) AskMode() content.Mode {
	if p.Mode == 0 {
		return content.Private
	}
	return p.Mode
}

// takeSession reads a member of the file.
func (p *Policy) takeSession(key string, v json.RawMessage) error {
	switch key {
	case keyMode:
		var s string
		if err := decode(v, &s); err != nil {
			return err
		}
		return p.setMode(s)
	case keyModes:
		var list []string
		if err := decode(v, &list); err != nil {
			return err
		}
		return p.setModes(list)
	case keyMessages:
		return decode(v, &p.SessionLimits.Messages)
	case keyBytes:
		return decode(v, &p.SessionLimits.Bytes)
	}
	return decode(v, &p.SessionLimits.Seconds)
}

// setSession reads what a person typed; nothing restores the default.
func (p *Policy) setSession(key, value string) error {
	switch key {
	case keyMode:
		if value == "" {
			value = content.Private.String()
		}
		return p.setMode(value)
	case keyModes:
		return p.setModes(splitList(value))
	}
	if value == "" {
		value = "0"
	}
	bits := 32
	if key == keyBytes {
		bits = 64
	}
	n, err := strconv.ParseUint(value, 10, bits)
	if d, notSpan := time.ParseDuration(value); err != nil && key == keyTTL && notSpan == nil && d >= time.Second {
		n, err = uint64(d/time.Second), nil
	}
	if err != nil || n > 1<<bits-1 {
		return fmt.Errorf("%q is not a number of %s, where 0 is no limit", value, units[key])
	}
	switch key {
	case keyMessages:
		p.SessionLimits.Messages = uint32(n)
	case keyBytes:
		p.SessionLimits.Bytes = n
	case keyTTL:
		p.SessionLimits.Seconds = uint32(n)
	}
	return nil
}

var units = map[string]string{keyMessages: "messages", keyBytes: "bytes", keyTTL: "seconds or a time such as 1h30m"}

func (p *Policy) setMode(s string) error {
	m, err := content.ParseMode(s)
	if err != nil {
		return errNoMode(s)
	}
	p.Mode = m
	return nil
}

func (p *Policy) setModes(list []string) error {
	var modes []content.Mode
	for _, s := range list {
		m, err := content.ParseMode(s)
		if err != nil {
			return errNoMode(s)
		}
		if !slices.Contains(modes, m) {
			modes = append(modes, m)
		}
	}
	p.AcceptModes = modes
	return nil
}

func errNoMode(s string) error {
	return errors.New(strconv.Quote(s) + " is not private or accountable")
}

func modeNames(list []content.Mode) []string {
	names := make([]string, len(list))
	for i, m := range list {
		names[i] = m.String()
	}
	return names
}

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// span is a duration flag that also knows days: 90s, 2h30m, 7d.
type span time.Duration

// String is empty for no time at all, so that help texts show no default then.
func (s *span) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

// Type names the value in help texts.
func (s *span) Type() string { return "duration" }

// Set implements pflag.Value.
func (s *span) Set(text string) error {
	d, err := parseSpan(text)
	if err != nil {
		return err
	}
	*s = span(d)
	return nil
}

// end is when the span that begins now is over; no time for an empty one.
func (s *span) end() time.Time {
	if *s == 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(*s)).UTC().Truncate(time.Second)
}

func parseSpan(text string) (time.Duration, error) {
	var d time.Duration
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration such as 90s, 2h or 7d", text)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration such as 90s, 2h or 7d", text)
	}
	return d, nil
}

package agent

import (
	"strings"
	"testing"
	"time"
)

// Windows nest (session.md §12): each is refused when it is a moment too short, and
// good when it just fits.
func TestWindowsNest(t *testing.T) {
	if err := DefaultLimits().Check(); err != nil {
		t.Fatal(err)
	}
	const hour, day = time.Hour, 24 * time.Hour
	const skew = 10 * time.Minute
	for _, c := range []struct {
		name   string // as the error names it
		least  time.Duration
		window func(l *Limits) *time.Duration
	}{
		{"dedup memory", 144*hour + 72*hour, func(l *Limits) *time.Duration { return &l.DedupMemory }},
		{"receive-only sessions", 72*hour + 72*hour + skew, func(l *Limits) *time.Duration { return &l.SessionKeep }},
		{"private parts of a bundle", 24*hour + 72*hour + 72*hour + skew, func(l *Limits) *time.Duration { return &l.PrekeyGrace }},
		{"skipped keys", 72*hour + 72*hour, func(l *Limits) *time.Duration { return &l.SkippedKeep }},
		{"answers to idempotency keys", 72*hour + skew, func(l *Limits) *time.Duration { return &l.IdempotencyKeep }},
		{"age of envelopes to resume for", 72*hour + 72*hour, func(l *Limits) *time.Duration { return &l.ResumeAge }},
		{"time in the hold", 20 * time.Second, func(l *Limits) *time.Duration { return &l.HoldFor }},
		{"a knock's life", 24*hour + 72*hour, func(l *Limits) *time.Duration { return &l.KnockLife }},
		{"a bundle's life", 7*day + day, func(l *Limits) *time.Duration { return &l.BundleLife }},
	} {
		l := DefaultLimits()
		if c.name != "a knock's life" { // which would ask for more than this one's least
			l.KnockLife = 24*hour + 72*hour
		}
		*c.window(&l) = c.least
		if err := l.Check(); err != nil {
			t.Errorf("%s of %s: %v", c.name, c.least, err)
		}
		*c.window(&l) = c.least - 1
		if err := l.Check(); err == nil || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s a moment under %s: %v", c.name, c.least, err)
		}
	}
}

// What is longer on one side of a window asks for more on the other.
func TestWindowsGrowTogether(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(l *Limits)
	}{
		{"dedup memory", func(l *Limits) { l.MaxTTL *= 3 }},
		{"dedup memory", func(l *Limits) { l.RelayRetention *= 3 }},
		{"dedup memory", func(l *Limits) { l.Skew = 97 * time.Hour }},
		{"private parts of a bundle", func(l *Limits) { l.BundleUse *= 3 }},
		{"replay memory", func(l *Limits) { l.KnockLife = 192 * time.Hour }},
		{"a bundle's life", func(l *Limits) { l.BundleRenew *= 2 }},
		{"window", func(l *Limits) { l.Window = 500 }},
	} {
		l := DefaultLimits()
		c.set(&l)
		if err := l.Check(); err == nil || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

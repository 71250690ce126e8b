package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// clocks are a wall clock that can be set and the time that really passes.
type clocks struct {
	wall time.Time
	up   time.Duration
}

func (c *clocks) pass(d time.Duration) { c.wall, c.up = c.wall.Add(d), c.up+d }

func (c *clocks) set(d time.Duration) { c.wall = c.wall.Add(d) }

func patientClocks() (*clocks, *patientClock, *bytes.Buffer) {
	c := &clocks{wall: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	var log bytes.Buffer
	p := newPatientClock(func() time.Time { return c.wall }, func() time.Duration { return c.up }, slog.New(slog.NewTextHandler(&log, nil)))
	return c, p, &log
}

// CP 33: what expires goes by a time that no jump of the wall clock brings forward.
func TestPatience(t *testing.T) {
	const day = 24 * time.Hour
	type step struct {
		set    time.Duration // the wall clock is set by this
		pass   time.Duration // then so much time passes
		behind time.Duration // then the sure time is so far behind the wall clock
	}
	for _, c := range []struct {
		name   string
		steps  []step
		alarms int
	}{
		{"nothing happens", []step{{0, time.Minute, 0}, {0, 30 * day, 0}}, 0},
		{"set back an hour", []step{{-time.Hour, 0, 0}, {0, time.Minute, 0}}, 0},
		{"set back a day and forth again", []step{{-day, time.Minute, 0}, {day, 0, day}, {0, 10 * time.Minute, 0}}, 2},
		{"four days ahead for five minutes", []step{
			{4 * day, 0, 4 * day}, {0, 5 * time.Minute, 4 * day}, {-4 * day, 0, 0}, {0, time.Hour, 0},
		}, 1},
		{"four days ahead for good", []step{
			{4 * day, 0, 4 * day}, {0, 9*time.Minute + 59*time.Second, 4 * day}, {0, time.Second, 0}, {0, day, 0},
		}, 1},
		{"two jumps: the wait begins anew", []step{
			{4 * day, 9 * time.Minute, 4 * day}, {day, 0, 5 * day}, {0, 9 * time.Minute, 5 * day}, {0, time.Minute, 0},
		}, 2},
		{"a jump that NTP mends a little", []step{
			{4 * day, 0, 4 * day}, {-time.Minute, 5 * time.Minute, 4*day - time.Minute}, {0, 5 * time.Minute, 0},
		}, 1},
		{"eight hours asleep", []step{{8 * time.Hour, 0, 8 * time.Hour}, {0, 10 * time.Minute, 0}}, 1},
		{"half an hour asleep", []step{{30 * time.Minute, 0, 0}}, 0},
		{"NTP slews", []step{{30 * time.Millisecond, time.Minute, 0}, {-50 * time.Millisecond, time.Minute, 0}, {time.Second, time.Minute, 0}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock, p, log := patientClocks()
			for i, s := range c.steps {
				clock.set(s.set)
				p.now() // somebody looks now and then
				clock.pass(s.pass)
				if behind := clock.wall.Sub(p.now()); behind != s.behind {
					t.Errorf("step %d: %s behind the wall clock, want %s", i, behind, s.behind)
				}
			}
			if n := strings.Count(log.String(), "alarm=clock_jump"); n != c.alarms {
				t.Errorf("%d alarms, want %d:\n%s", n, c.alarms, log)
			}
		})
	}
}

// While the wall clock is not believed, the sure time still passes.
func TestPatienceGoesOn(t *testing.T) {
	clock, p, _ := patientClocks()
	before := p.now()
	clock.set(96 * time.Hour)
	p.now()
	clock.pass(7 * time.Minute)
	if passed := p.now().Sub(before); passed != 7*time.Minute {
		t.Errorf("%s passed, want 7m", passed)
	}
}

// Sleepers are woken once for a jump, in either direction, and not for a slew.
func TestPatienceWakesSleepers(t *testing.T) {
	clock, p, _ := patientClocks()
	for _, c := range []struct {
		set, pass time.Duration
		want      bool
	}{
		{0, time.Hour, false},
		{20 * time.Millisecond, 0, false},
		{-time.Hour, 0, true},
		{0, time.Minute, false},
		{8 * time.Hour, 0, false}, // it is not believed yet
		{0, 10 * time.Minute, true},
		{0, time.Minute, false},
	} {
		clock.set(c.set)
		p.now()
		clock.pass(c.pass)
		if got := p.moved(); got != c.want {
			t.Errorf("set by %s, %s later: moved %t", c.set, c.pass, got)
		}
	}
}

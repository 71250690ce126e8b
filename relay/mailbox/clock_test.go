package mailbox

import (
	"testing"
	"testing/synctest"
	"time"

	"amesh/identity"
	"amesh/internal/store"
)

// wallClock is a clock that somebody sets.
type wallClock struct{ wrong time.Duration }

func (w *wallClock) now() time.Time { return time.Now().Add(w.wrong) }

func diskWith(t *testing.T, s store.Store, w *wallClock) *Disk {
	t.Helper()
	m, err := NewDisk(s, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	m.clock.wall = w.now
	return m
}

func sweep(t *testing.T, m *Disk) {
	t.Helper()
	if _, err := m.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func waiting(t *testing.T, m *Disk) int {
	t.Helper()
	rows, err := m.List(t.Context(), identity.AMID{2}, 0, Size{Messages: 9, Bytes: 999})
	if err != nil {
		t.Fatal(err)
	}
	return len(rows)
}

// T57, CP 33: a wall clock that jumps, while the relay runs or is down, expires
// nothing early; and a jump of more than an hour is noticed, once.
func TestClockJumps(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	for _, c := range []struct {
		name  string
		down  time.Duration // how long the relay is down; 0: it goes on
		jump  time.Duration // what the wall clock does meanwhile
		wait  time.Duration // how long the message then lives, of 71 h
		jumps uint64
	}{
		{"nothing happens", 0, 0, 71 * hour, 0},
		{"drift", 0, 20 * time.Second, 71 * hour, 0},
		{"an hour ahead", 0, hour, 71 * hour, 0},
		{"more than an hour ahead", 0, hour + time.Second, 71 * hour, 1},
		{"four days ahead", 0, 4 * day, 71 * hour, 1},
		{"four days back", 0, -4 * day, 71 * hour, 1},
		{"restart", time.Second, 0, 71*hour - time.Second, 0},
		{"down half an hour", hour / 2, 0, 70*hour + hour/2, 0},
		{"down for an hour", hour, 0, 70 * hour, 0},
		{"down for longer", 3 * day, 0, 70 * hour, 1},
		{"down, and half an hour back", time.Minute, -hour / 2, 71 * hour, 0},
		{"down, and four days ahead", time.Minute, 4 * day, 70 * hour, 1},
		{"down, and four days back", time.Minute, -4 * day, 71 * hour, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, wall := store.NewMemory(), &wallClock{}
				m := diskWith(t, disk, wall)
				_, err := m.Put(t.Context(), []Message{{To: identity.AMID{2}, Kind: KindMessage, Payload: "x"}})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(hour)
				sweep(t, m)
				wall.wrong += c.jump
				if c.down > 0 {
					time.Sleep(c.down)
					m = diskWith(t, disk.Reopen(), wall)
				}
				for range 3 {
					sweep(t, m)
				}
				if got := m.Stats().ClockJumps; got != c.jumps {
					t.Errorf("%d jumps noticed, want %d", got, c.jumps)
				}
				time.Sleep(c.wait - time.Millisecond)
				sweep(t, m)
				if waiting(t, m) != 1 {
					t.Error("expired early")
				}
				time.Sleep(time.Millisecond)
				if waiting(t, m) != 0 {
					t.Error("not expired")
				}
				if got := m.Stats().ClockJumps; got != c.jumps {
					t.Errorf("%d jumps noticed at the end, want %d", got, c.jumps)
				}
			})
		})
	}
}

// A relay that dies without a sweep has written no time: nothing expires early.
func TestClockWithoutASweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, wall := store.NewMemory(), &wallClock{}
		m := diskWith(t, disk, wall)
		if _, err := m.Put(t.Context(), []Message{{To: identity.AMID{2}, Kind: KindMessage, Payload: "x"}}); err != nil {
			t.Fatal(err)
		}
		wall.wrong = 30 * 24 * time.Hour
		m = diskWith(t, disk.Reopen(), wall)
		if waiting(t, m) != 1 {
			t.Error("expired by the jump")
		}
	})
}

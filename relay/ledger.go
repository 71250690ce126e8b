package relay

import (
	"sync"
	"sync/atomic"
	"time"
)

// A ledger notes what each agent, or each address, does, so that an operator can see
// who is busy. It is bounded: rows without a connection make room for new ones, and
// what finds no room shares one row that nobody sees.
type ledger[K comparable] struct {
	max int

	mu    sync.Mutex
	rows  map[K]*activity
	spare activity
}

const (
	// ledgerIdle is how long a row outlives what it is about.
	ledgerIdle = 10 * time.Minute
	// ledgerTurn is how long a minute is for "recently".
	ledgerTurn = time.Minute
	// ledgerTries is how many rows are looked at for one to make room.
	ledgerTries = 16
)

// activity is a row. What is counted is atomic; the rest belongs to the ledger.
type activity struct {
	inFrames, inBytes, outFrames, outBytes, stored, refused atomic.Uint64

	conns     int
	used      time.Time
	old, last Activity // counts at the last two turns
}

// Activity is what somebody did.
type Activity struct {
	In      Count  `json:"in"`
	Out     Count  `json:"out"`
	Stored  uint64 `json:"stored"`
	Refused uint64 `json:"refused"`
}

func (a *activity) now() Activity {
	return Activity{
		In:     Count{N: a.inFrames.Load(), Bytes: a.inBytes.Load()},
		Out:    Count{N: a.outFrames.Load(), Bytes: a.outBytes.Load()},
		Stored: a.stored.Load(), Refused: a.refused.Load(),
	}
}

func (a Activity) since(b Activity) Activity {
	return Activity{
		In:     Count{N: a.In.N - b.In.N, Bytes: a.In.Bytes - b.In.Bytes},
		Out:    Count{N: a.Out.N - b.Out.N, Bytes: a.Out.Bytes - b.Out.Bytes},
		Stored: a.Stored - b.Stored, Refused: a.Refused - b.Refused,
	}
}

func newLedger[K comparable](most int) *ledger[K] {
	return &ledger[K]{max: most, rows: map[K]*activity{}}
}

// of finds or makes the row of key, with so many connections more. Each is given back
// with done.
func (l *ledger[K]) of(key K, conns int) *activity {
	l.mu.Lock()
	defer l.mu.Unlock()
	row := l.rows[key]
	if row == nil {
		if !l.makeRoom() {
			return &l.spare
		}
		row = &activity{}
		l.rows[key] = row
	}
	row.conns += conns
	row.used = time.Now()
	return row
}

// done takes a connection off a row.
func (l *ledger[K]) done(row *activity) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if row != nil && row != &l.spare {
		row.conns--
		row.used = time.Now()
	}
}

// makeRoom forgets a row without a connection when the ledger is full. Which one is
// left to the map.
func (l *ledger[K]) makeRoom() bool {
	tries := 0
	for key, row := range l.rows {
		if len(l.rows) < l.max {
			return true
		}
		if tries++; tries > ledgerTries {
			return false
		}
		if row.conns == 0 {
			delete(l.rows, key)
		}
	}
	return len(l.rows) < l.max
}

// turn begins a new minute and forgets rows that were idle for ledgerIdle.
func (l *ledger[K]) turn(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, row := range l.rows {
		if row.conns == 0 && now.Sub(row.used) > ledgerIdle {
			delete(l.rows, key)
			continue
		}
		row.old, row.last = row.last, row.now()
	}
}

// line is a row as it is read.
type line[K comparable] struct {
	key         K
	conns       int
	recent, all Activity
}

// read copies the ledger. Recent is what was done in the last one to two minutes.
func (l *ledger[K]) read() []line[K] {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := make([]line[K], 0, len(l.rows))
	for key, row := range l.rows {
		all := row.now()
		lines = append(lines, line[K]{key: key, conns: row.conns, recent: all.since(row.old), all: all})
	}
	return lines
}

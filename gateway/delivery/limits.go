package delivery

import "time"

// Limits are the bounds of the work. Zero values are the defaults.
type Limits struct {
	// MinRetry and MaxRetry bound the distance between two tries: it is random, from
	// MinRetry up to a bound that doubles with every try. Default 1 s and 1 h.
	MinRetry, MaxRetry time.Duration
	// MaxAge is how long a recipient is tried, from when it was accepted or redriven.
	// Default 7 days.
	MaxAge time.Duration
	// InFlight is how many deliveries are under way at a time, PerTarget how many of
	// them to one domain or one agent. Default 512 and 8.
	InFlight, PerTarget int
	// Held is how many jobs wait in memory for their turn at one target. Default 16.
	Held int
	// Lease is how long a job may take, from when it is taken out of the queue, before
	// another gateway may have it. Default, and least, 2 Attempt.
	Lease time.Duration
	// Attempt ends one delivery, of all the requests that it needs; longer than one may
	// take. Default 1 min.
	Attempt time.Duration
	// MinPause and MaxPause bound how long a target that gave no answer is left alone:
	// the time doubles. Default 1 s and 1 min.
	MinPause, MaxPause time.Duration
	// Throttle is the longest that one answer 429 holds back everything for its target;
	// the message itself waits as long as it says. Default 10 s.
	Throttle time.Duration
	// Drain is how long deliveries under way are waited for when we stop. Default 10 s.
	Drain time.Duration
	// Poll is the longest that the queue is not looked at: another gateway's messages
	// wake nobody here. Default 5 s.
	Poll time.Duration
	// NoticeTTL is how long the key of a notice or a reply counts. Default 7 days.
	NoticeTTL time.Duration
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		at *time.Duration
		or time.Duration
	}{
		{&l.MinRetry, time.Second}, {&l.MaxRetry, time.Hour}, {&l.MaxAge, 7 * 24 * time.Hour},
		{&l.Attempt, time.Minute},
		{&l.MinPause, time.Second}, {&l.MaxPause, time.Minute}, {&l.Throttle, 10 * time.Second},
		{&l.Drain, 10 * time.Second}, {&l.Poll, 5 * time.Second}, {&l.NoticeTTL, 7 * 24 * time.Hour},
	} {
		if *d.at <= 0 {
			*d.at = d.or
		}
	}
	l.Lease = max(l.Lease, 2*l.Attempt)
	for _, n := range []struct {
		at *int
		or int
	}{{&l.InFlight, 512}, {&l.PerTarget, 8}, {&l.Held, 16}} {
		if *n.at <= 0 {
			*n.at = n.or
		}
	}
	return l
}

const (
	// batch is how many jobs are taken out of the queue at a time.
	batch = 32
	// minWait is the shortest time between two looks into the queue.
	minWait = 10 * time.Millisecond
	// busyPoll is the time between two looks while what is due waits for its target: what
	// else becomes due meanwhile cannot be told apart.
	busyPoll = time.Second
	// namesake is how much younger than a message an agent may be that still gets it: the
	// clocks of the gateways that registered the one and accepted the other differ.
	namesake = time.Minute
	// maxExcept is how many targets are passed over in the queue.
	maxExcept = 256
	// lastTry is how long after its time a job gets a last try of a target that was silent.
	// Behind it there is a heap of them, which would take hours.
	lastTry = 5 * time.Minute
	// settleTime ends one try to write down what came of a job.
	settleTime = 10 * time.Second
	// settleRetry is how long we wait before we try again to write down what came of a
	// job, while the database does not take it.
	settleRetry = time.Second
	// longPause is from which pause on, in units of Limits.MinPause, what waits for a
	// target is put off, and minPutOff the shortest time over which that is spread.
	longPause = 4
	minPutOff = 30 * time.Second
	// reapTargets is how many targets are remembered before idle ones are forgotten.
	reapTargets = 4096
)

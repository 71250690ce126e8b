package delivery

import (
	"math/rand/v2"
	"time"

	"amesh/gateway/store"
)

// over reports whether a job has been tried for as long as it may.
func (l Limits) over(j store.Job, now time.Time) bool { return !now.Before(j.Queued.Add(l.MaxAge)) }

// atLast is a time, but not behind the end of a job's: there is one last try.
func (l Limits) atLast(j store.Job, next time.Time) time.Time {
	if end := j.Queued.Add(l.MaxAge); next.After(end) {
		return end
	}
	return next
}

// retry is how long after its nth try in vain a recipient is tried again: a random time
// from MinRetry up to a bound that doubles from 2 MinRetry to MaxRetry, and no less
// than what the other side asked for.
func (l Limits) retry(n int, asked time.Duration) time.Duration {
	bound := l.MinRetry
	for range n {
		if bound >= l.MaxRetry {
			break
		}
		bound *= 2
	}
	bound = min(bound, l.MaxRetry)
	return max(l.MinRetry+spread(bound-l.MinRetry), min(asked, l.MaxRetry))
}

// putOff is when a job is looked at again that came up while its target was left alone
// until some time: the longer it has waited, the rarer, so that a large heap for a dead
// domain costs little. When the target is back, they are all due at once.
func (l Limits) putOff(until time.Time, age time.Duration) time.Time {
	return until.Add(spread(min(max(age, minPutOff), l.MaxRetry)))
}

// spread is a random time up to a bound.
func spread(bound time.Duration) time.Duration {
	if bound <= 0 {
		return 0
	}
	return rand.N(bound + 1)
}

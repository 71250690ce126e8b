package relay

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Retry has a client that waits before its next attempt make it now: the network
// has changed, so the reason for the wait may be gone. A relay that refused us is not
// asked sooner.
func (c *Client) Retry() {
	select {
	case c.retry <- struct{}{}:
	default:
	}
}

// outage is a time without a connection that lasted.
type outage struct {
	since   time.Time // zero: there is none
	attempt int
	refused int
}

// pause waits before the next attempt, because of how the last one ended. It returns
// false when ctx ended.
func (c *Client) pause(ctx context.Context, o *outage, up time.Duration, err error) bool {
	if up >= c.limits.HealthyAfter {
		*o = outage{}
	}
	if errors.Is(err, errUpgradeAgain) {
		return true
	}
	if o.since.IsZero() {
		o.since = time.Now()
	}
	if noRush(err) {
		o.refused++
		return wait(ctx, c.refusedPause(o.refused-1))
	}
	o.refused = 0
	if up > 0 {
		select {
		case <-c.retry: // what came while there was a connection is no reason
		default:
		}
	}
	t := time.NewTimer(c.backoff(o))
	defer t.Stop()
	o.attempt++
	select {
	case <-t.C:
	case <-c.retry:
	case <-ctx.Done():
		return false
	}
	return true
}

// noRush tells what trying again soon cannot change.
func noRush(err error) bool {
	var auth *AuthError
	return errors.As(err, &auth) || errors.Is(err, ErrReplaced) ||
		errors.Is(err, ErrLegacyRelay) || errors.Is(err, ErrLegacyHeld) || errors.Is(err, ErrDowngrade)
}

// backoff is fully jittered, so that the clients of a restarted relay do not come
// back all at once. While the outage is young its most is short: a relay that is
// restarted is found within moments of its return.
func (c *Client) backoff(o *outage) time.Duration {
	most := c.limits.BackoffMax
	if time.Since(o.since) < c.limits.BackoffYoung {
		most = min(most, c.limits.BackoffSoon)
	}
	if o.attempt < 16 {
		most = min(most, c.limits.BackoffMin<<o.attempt)
	}
	return rand.N(most) + 1
}

func (c *Client) refusedPause(before int) time.Duration {
	if before == 0 {
		return min(time.Second, c.limits.RefusedRetry)
	}
	return c.limits.RefusedRetry/2 + rand.N(c.limits.RefusedRetry)
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

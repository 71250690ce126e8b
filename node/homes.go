package node

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"amesh/internal/store"
	"amesh/node/homing"
	"amesh/relay"
)

// Numbers of the homes.
const (
	// gather is how long others are not told of a change while another home may be
	// about to connect: one record instead of two.
	gather = 500 * time.Millisecond
	// bookPause is the time until what could not be written, the disk being full, is
	// written again.
	bookPause = 30 * time.Second
	// surveyEvery is the time between measurements of our relays where there is a
	// choice; surveySoon while a home is out of reach; surveyCalm where there is none.
	surveyEvery = 5 * time.Minute
	surveySoon  = time.Minute
	surveyCalm  = time.Hour
	// surveyRest is the least time between two, whatever happens.
	surveyRest = 10 * time.Second
	// surveyTime is how long a relay has to answer; surveyFirst how long one that did
	// waits for the others.
	surveyTime  = 5 * time.Second
	surveyFirst = time.Second
)

// run keeps the homes connected until ctx ends, and waits for every line. Only an
// error of the store is returned.
func (r *relays) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	r.begin(ctx)
	return r.serve(ctx, stop)
}

// serve works until ctx ends or the store fails; then it waits for every line.
func (r *relays) serve(ctx context.Context, stop context.CancelFunc) error {
	err := r.attend(ctx)
	r.mu.Lock()
	r.ctx = nil // no line starts from here on
	r.mu.Unlock()
	stop()
	r.wg.Wait()
	return err
}

// begin starts the lines that are wanted from the beginning.
func (r *relays) begin(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ctx = ctx
	for _, url := range r.table.Decide(time.Now()).Lines {
		r.keep(url)
	}
	r.wg.Go(func() { r.survey(ctx) })
}

// attend does what the table says, and gives up idle lines, until ctx ends.
func (r *relays) attend(ctx context.Context) error {
	idle := time.NewTicker(foreignIdle / 5)
	defer idle.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.news:
		case <-timer.C:
		case <-idle.C:
			r.closeIdle(time.Now())
		}
		now := time.Now()
		past, next, moved := r.update(now)
		if err := r.writeDown(ctx, past, now); err != nil && ctx.Err() == nil {
			if !errors.Is(err, store.ErrNoSpace) {
				return err
			}
			next = now.Add(bookPause)
		}
		if moved { // what others are told is remembered first
			r.moved()
		}
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(next.Sub(now), time.Millisecond))
		}
	}
}

// writeDown remembers homes and pins.
func (r *relays) writeDown(ctx context.Context, past []homing.Past, now time.Time) error {
	r.mu.Lock()
	met := r.met
	r.met = nil
	r.mu.Unlock()
	if err := errors.Join(r.book.remember(ctx, past), r.book.pin(ctx, met, r.ids, now)); err != nil {
		r.mu.Lock()
		r.met = append(r.met, met...)
		r.mu.Unlock()
		return err
	}
	return nil
}

// update starts and keeps the lines of the plan of this moment. It returns what to
// remember, when to come again, zero for never, and whether others are to be told
// something new.
func (r *relays) update(now time.Time) (past []homing.Past, next time.Time, moved bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	plan := r.table.Decide(now)
	r.homes = plan.Homes
	for url, line := range r.lines {
		if line.kept && !slices.Contains(plan.Lines, url) {
			line.kept, line.used = false, now // it goes when it is idle
		}
	}
	for _, url := range plan.Lines {
		r.keep(url)
	}
	next = plan.Next
	switch wait := r.differ.Add(gather); {
	case slices.Equal(plan.Told, r.told):
		r.differ = time.Time{}
	case r.differ.IsZero() && !r.complete():
		r.differ = now
		next = now.Add(gather)
	case !r.complete() && now.Before(wait):
		next = wait
	default:
		r.told, r.differ, moved = plan.Told, time.Time{}, true
	}
	return r.table.Past(), next, moved
}

// keep sees to it that there is a line to a relay of ours; r.mu is held.
func (r *relays) keep(url string) {
	line := r.lines[url]
	if line == nil && r.ctx != nil {
		var err error
		if line, err = r.line(url); err != nil {
			r.log.Warn("relay unusable", "relay", url, "err", err)
			return
		}
		r.lines[url] = line
		defer r.start(line)
	}
	if line == nil || line.kept {
		return
	}
	line.kept = true
	if r.guests != nil {
		line.client.SetAllow(r.guests())
	}
}

// mailboxes are the lines to relays where mail for us may come.
func (r *relays) mailboxes() []*relay.Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []*relay.Client
	for _, line := range r.lines {
		if line.kept {
			list = append(list, line.client)
		}
	}
	return list
}

// complete reports whether every home is connected; r.mu is held.
func (r *relays) complete() bool {
	return !slices.ContainsFunc(r.homes, func(url string) bool {
		line := r.lines[url]
		return line == nil || !line.client.Connected()
	})
}

// note tells the table how a line is; r.mu is held.
func (r *relays) note(line *relayLine) {
	url, s := line.client.URL(), line.state
	if r.lines[url] != line {
		return // another one has taken its place
	}
	switch {
	case s.Connected:
		r.table.Connected(url, s.Pending, line.since)
		if s.Speaks(relay.ExtensionChallenge) {
			r.pinned[line.client.RelayID()] = true
			r.met = append(r.met, line.client.RelayID())
		}
	case s.Err == nil:
		r.table.Lost(url, homing.Ended, line.since)
	case refusal(s.Err):
		r.table.Lost(url, homing.Refused, line.since)
	case relay.Draining(s.Err):
		r.table.Lost(url, homing.Drained, line.since)
	default:
		r.table.Lost(url, homing.Gone, line.since)
	}
}

// took counts what lies in our mailbox at a relay.
func (r *relays) took(line *relayLine) {
	r.mu.Lock()
	last := r.table.Took(line.client.URL())
	r.mu.Unlock()
	if last {
		r.poke()
	}
}

func (r *relays) poke() {
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// announced are the homes that others are told of, the best first.
func (r *relays) announced() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.told)
}

// settling reports whether others cannot be told of any home yet, and can be soon.
func (r *relays) settling() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.told) == 0 && len(r.own) > 0
}

// retry has everything tried again at once: the network is another one.
func (r *relays) retry() {
	r.mu.Lock()
	for _, line := range r.lines {
		line.client.Retry()
	}
	r.mu.Unlock()
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// survey measures our relays until ctx ends.
func (r *relays) survey(ctx context.Context) {
	for {
		r.measureAll(ctx)
		rest, timer := time.NewTimer(surveyRest), time.NewTimer(r.surveyPause())
		select {
		case <-timer.C:
		case <-r.again:
			select { // not at every address that comes with the new network
			case <-rest.C:
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
		rest.Stop()
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// surveyPause is the time until the next measurement, with a quarter of jitter: the
// agents of a relay that restarted are not to measure it all at once.
func (r *relays) surveyPause() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	pause := surveyEvery
	switch {
	case !r.table.Choice():
		pause = surveyCalm
	case !r.complete():
		pause = surveySoon
	}
	return pause*3/4 + rand.N(pause/2)
}

// measureAll measures our relays, all at the same time. The table hears of those that
// answer within surveyFirst together, so that the choice is not between the first two.
func (r *relays) measureAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	type answer struct {
		url  string
		took time.Duration
	}
	answers := make(chan answer)
	for _, url := range r.own {
		go func() {
			took, err := r.measure(ctx, url)
			if err != nil {
				r.log.Debug("relay does not answer", "relay", url, "err", err)
				took = 0
			}
			answers <- answer{url, took}
		}()
	}
	first := time.NewTimer(surveyFirst)
	defer first.Stop()
	var held []answer
	tell := func() {
		r.mu.Lock()
		for _, a := range held {
			r.table.Measured(a.url, a.took, time.Now())
		}
		r.mu.Unlock()
		held = nil
		r.poke()
	}
	waits := true
	for range r.own {
		select {
		case a := <-answers:
			held = append(held, a)
		case <-first.C:
			waits = false
			tell()
			held = append(held, <-answers)
		}
		if !waits {
			tell()
		}
	}
	tell()
}

// homingLimits are the defaults with the owner's number of homes, 0 for the default.
func homingLimits(homes int) homing.Limits {
	l := homing.DefaultLimits()
	if homes > 0 {
		l.Keep = homes
	}
	return l
}

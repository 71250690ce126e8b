package homing

import (
	"slices"
	"time"
)

// Decide takes everything into account that was told until now.
func (t *Table) Decide(now time.Time) Plan {
	t.homes = slices.DeleteFunc(t.homes, func(e *entry) bool { return !e.own || e.same != "" })
	t.replace(now)
	t.fill(now)
	t.promote(now)
	t.order()
	t.tell(now)
	t.forget(now)
	return t.plan(now)
}

// fit reports whether a relay may become a home.
func (e *entry) fit(now time.Time) bool {
	return e.own && e.same == "" && !e.draining && !e.refuses(now) && (e.connected || e.reach)
}

func (e *entry) refuses(now time.Time) bool { return now.Before(e.refused) }

// holds reports whether a home need not be replaced.
func (t *Table) holds(e *entry, now time.Time) bool {
	if e.draining || e.refuses(now) {
		return false
	}
	return e.connected || now.Before(e.since.Add(t.limits.Patience))
}

// best is the fastest relay that may become a home and is none, nil for none. Of
// those that were not measured the owner's first comes first.
func (t *Table) best(now time.Time) *entry {
	var best *entry
	for _, e := range t.all {
		switch {
		case !e.fit(now) || slices.Contains(t.homes, e):
		case best == nil || e.latency() > 0 && (best.latency() == 0 || e.latency() < best.latency()):
			best = e
		}
	}
	return best
}

// replace gives the place of a home that fails to a relay that is there, and lets go
// of one that is going while another one stays.
func (t *Table) replace(now time.Time) {
	for i, e := range t.homes {
		if t.holds(e, now) {
			continue
		}
		if next := t.best(now); next != nil {
			t.homes[i] = next.chosen(now)
		}
	}
	stays := func(e *entry) bool { return e.connected && t.holds(e, now) }
	if slices.ContainsFunc(t.homes, stays) {
		t.homes = slices.DeleteFunc(t.homes, func(e *entry) bool { return e.draining })
	}
}

// chosen gives a relay that becomes a home its time to connect.
func (e *entry) chosen(now time.Time) *entry {
	if !e.connected {
		e.since = now
	}
	return e
}

// fill gives free places away: to the fastest that are there, and when every relay was
// tried in vain, or there are not more than places, to the owner's first.
func (t *Table) fill(now time.Time) {
	for len(t.homes) < t.limits.Keep {
		next := t.best(now)
		if next == nil {
			next = t.anyway(now)
		}
		if next == nil {
			return
		}
		t.homes = append(t.homes, next.chosen(now))
	}
}

// anyway is a relay to be tried although it was not in reach, nil while it is not yet
// known who is.
func (t *Table) anyway(now time.Time) *entry {
	known := !t.Choice() || !slices.ContainsFunc(t.all, func(e *entry) bool { return e.own && !e.tried })
	if !known {
		return nil
	}
	for _, refused := range []bool{false, true} { // the least bad last
		for _, e := range t.all {
			if e.own && e.same == "" && !e.draining && e.refuses(now) == refused && !slices.Contains(t.homes, e) {
				return e
			}
		}
	}
	return nil
}

// promote gives the place of the slowest home to a relay that is clearly faster, has
// been in reach for long, and is connected.
func (t *Table) promote(now time.Time) {
	var slowest *entry
	for _, e := range t.homes {
		if slowest == nil || e.latency() > slowest.latency() {
			slowest = e
		}
	}
	t.trial = nil
	next := t.best(now)
	switch {
	case slowest == nil || next == nil || !t.faster(next, slowest):
	case len(next.samples) < t.limits.Least || now.Before(next.steady.Add(t.limits.Steady)):
	case !next.connected:
		t.trial = next
	default:
		t.homes[slices.Index(t.homes, slowest)] = next
	}
}

// faster reports whether one relay is so much faster than another that it is worth a
// change.
func (t *Table) faster(a, b *entry) bool {
	if a.latency() == 0 || b.latency() == 0 {
		return false
	}
	margin := max(t.limits.Margin, b.latency()*time.Duration(t.limits.Share)/100)
	return a.latency()+margin < b.latency()
}

// order puts a home before another one that is clearly slower, and leaves the rest as
// it is. Each pass moves a home by at most one place; the order is the same whoever
// was told first.
func (t *Table) order() {
	for range t.homes {
		for i := 1; i < len(t.homes); i++ {
			if t.faster(t.homes[i], t.homes[i-1]) {
				t.homes[i], t.homes[i-1] = t.homes[i-1], t.homes[i]
			}
		}
	}
}

// tell decides what others are told. It is never nothing once it was something: when
// no home is there, perhaps only we cannot see them.
func (t *Table) tell(now time.Time) {
	before := t.told
	var told []*entry
	for _, e := range t.homes {
		if t.tells(e, slices.Contains(before, e), now) {
			told = append(told, e)
		}
	}
	there := func(e *entry) bool { return e.connected }
	if !slices.ContainsFunc(told, there) {
		// Better one that is going, or was given up and is just back, than none.
		told = slices.DeleteFunc(slices.Clone(t.homes), func(e *entry) bool { return !e.connected && !slices.Contains(told, e) })
	}
	if len(told) == 0 {
		return
	}
	t.told = told
	for _, e := range before {
		if !slices.Contains(told, e) {
			e.left, e.lapsed = now, !e.connected
		}
	}
	for _, e := range told {
		e.left, e.lapsed = time.Time{}, false
	}
}

// tells reports whether others are told of a home.
func (t *Table) tells(e *entry, before bool, now time.Time) bool {
	switch {
	case e.draining || e.refuses(now):
		return false
	case e.connected:
		return !e.lapsed || !now.Before(e.since.Add(t.limits.Back))
	}
	return before && now.Before(e.since.Add(t.limits.Patience))
}

// forget ends the leaving of relays where nothing can be for us any more.
func (t *Table) forget(now time.Time) {
	for _, e := range t.all {
		if e.left.IsZero() || slices.Contains(t.homes, e) {
			continue
		}
		stayed := !now.Before(e.left.Add(t.limits.Stay)) && e.connected && e.waiting == 0
		if stayed || e.same != "" || !now.Before(e.left.Add(t.limits.Most)) {
			e.left = time.Time{}
		}
	}
	t.all = slices.DeleteFunc(t.all, func(e *entry) bool {
		return !e.own && e.left.IsZero() && !slices.Contains(t.told, e)
	})
}

func (t *Table) plan(now time.Time) Plan {
	var p Plan
	for _, e := range t.homes {
		p.Homes = append(p.Homes, e.url)
	}
	for _, e := range t.told {
		p.Told = append(p.Told, e.url)
	}
	p.Lines = slices.Clone(p.Homes)
	var times []time.Time
	for _, e := range t.all {
		wanted := e == t.trial || slices.Contains(t.told, e) || !e.left.IsZero()
		if wanted && !slices.Contains(p.Lines, e.url) {
			p.Lines = append(p.Lines, e.url)
		}
		if !e.left.IsZero() {
			times = append(times, e.left.Add(t.limits.Stay), e.left.Add(t.limits.Most))
		}
		times = append(times, e.since.Add(t.limits.Patience), e.since.Add(t.limits.Back))
	}
	times = slices.DeleteFunc(times, func(at time.Time) bool { return !at.After(now) })
	if len(times) > 0 {
		p.Next = slices.MinFunc(times, time.Time.Compare)
	}
	return p
}

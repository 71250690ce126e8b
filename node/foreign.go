package node

import (
	"errors"
	"slices"
	"time"

	"amesh/identity"
	"amesh/node/homing"
	"amesh/relay"
)

// choose picks the line for a peer: the first that is connected of those kept that
// the peer is homed on as well, then of the peer's relays in the peer's order. When
// none is, lines to all of them are started, because any may be the one that lives.
// Whose relays are not known is looked for at our homes.
//
// Relays of a peer come from its record, after we knocked, or sealed, after an
// accept: a stranger who knocks has no line opened for it.
func (r *relays) choose(theirs []string) *relay.Client {
	urls := r.read(theirs)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil || r.ctx.Err() != nil {
		return nil
	}
	now := time.Now()
	if line := r.first(urls); line != nil {
		line.used = now
		return line.client
	}
	for _, url := range urls {
		line := r.at(url)
		if line == nil {
			line = r.open(url, now)
		}
		if line != nil {
			line.used = now
		}
	}
	return nil // Kick comes
}

// reach reports whether choose would find a connected line.
func (r *relays) reach(theirs []string) bool {
	urls := r.read(theirs)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ctx != nil && r.first(urls) != nil
}

// uses reports whether the line with this URL is one for the peer's relays.
func (r *relays) uses(url string, theirs []string) bool {
	urls := r.read(theirs)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range urls {
		if line := r.at(u); line != nil && line.client.URL() == url {
			return true
		}
	}
	return false
}

// read writes a peer's URLs as lines are named. What a peer wrote wrong is skipped.
func (r *relays) read(theirs []string) []string {
	if len(theirs) == 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Clone(r.homes)
	}
	var urls []string
	for _, text := range theirs[:min(len(theirs), identity.MaxRelays)] {
		url, err := relay.ParseURL(text)
		if err != nil {
			r.log.Debug("peer's relay unusable", "err", err)
			continue
		}
		urls = append(urls, url)
	}
	return urls
}

// at finds the line to a URL, also when that is another name of its relay; r.mu is
// held.
func (r *relays) at(url string) *relayLine {
	if line := r.lines[url]; line != nil {
		return line
	}
	return r.twins[url]
}

// first finds the connected line to use, homes before others; r.mu is held.
func (r *relays) first(urls []string) *relayLine {
	var foreign *relayLine
	for _, url := range urls {
		line := r.at(url)
		if line == nil || !line.client.Connected() {
			continue
		}
		if line.kept {
			return line
		}
		if foreign == nil {
			foreign = line
		}
	}
	return foreign
}

// open starts a line to a peer's relay if there is room for it; r.mu is held.
func (r *relays) open(url string, now time.Time) *relayLine {
	if !r.room(now) {
		r.log.Debug("no room for a line to a peer's relay", "relay", url)
		return nil
	}
	line, err := r.line(url)
	if err != nil {
		r.log.Debug("peer's relay unusable", "err", err)
		return nil
	}
	r.lines[url] = line
	r.start(line)
	return line
}

// room gives up a line when all places are taken: the one unused for longest among
// those that had their time. Lines in use are not, or a peer with many relays could
// take them from everybody else. r.mu is held.
func (r *relays) room(now time.Time) bool {
	foreign := 0
	for _, line := range r.lines {
		if !line.kept {
			foreign++
		}
	}
	if foreign < foreignMost {
		return true
	}
	var oldest *relayLine
	for _, line := range r.lines {
		over := now.Sub(line.started) >= foreignTry
		if line.client.Connected() {
			over = now.Sub(line.used) >= foreignRest
		}
		if over && !line.kept && (oldest == nil || line.used.Before(oldest.used)) {
			oldest = line
		}
	}
	if oldest != nil {
		r.drop(oldest)
	}
	return oldest != nil
}

// drop ends a foreign line; r.mu is held.
func (r *relays) drop(line *relayLine) {
	line.stop()
	delete(r.lines, line.client.URL())
	r.table.Lost(line.client.URL(), homing.Ended, time.Now())
	for url, same := range r.twins {
		if same == line {
			delete(r.twins, url)
		}
	}
}

func (r *relays) closeIdle(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		if !line.kept && now.Sub(line.used) > foreignIdle {
			r.drop(line)
		}
	}
}

// twin finds out that two lines lead to one relay. A relay has several names, and it
// lets an agent connect once: the newer line ends the older one, for ever in turn.
// The one that is not kept is given up, of two that are the one that the owner names
// later, and its URL means the other from then on. It returns the line that was kept,
// nil for none; r.mu is held.
func (r *relays) twin(line *relayLine) *relayLine {
	ended, came := line, line
	for _, other := range r.lines {
		switch {
		case other == line || line.since.Sub(other.since).Abs() > twinTime:
			continue
		case line.state.Connected:
			ended = other
		default:
			came = other
		}
		if !came.state.Connected || !errors.Is(ended.state.Err, relay.ErrReplaced) {
			continue
		}
		if ended.kept && (!came.kept || slices.Index(r.own, ended.client.URL()) < slices.Index(r.own, came.client.URL())) {
			return r.merge(came, ended)
		}
		return r.merge(ended, came)
	}
	return nil
}

// merge gives a line up for another one to the same relay; r.mu is held.
func (r *relays) merge(gone, kept *relayLine) *relayLine {
	if r.lines[gone.client.URL()] != gone || r.lines[kept.client.URL()] != kept {
		return nil // given up before
	}
	r.drop(gone)
	if kept.kept {
		r.table.Same(gone.client.URL(), kept.client.URL())
	}
	if len(r.twins) >= foreignMost {
		clear(r.twins) // they are found again
	}
	r.twins[gone.client.URL()] = kept
	return kept
}

// foreignTrouble says which relays of peers are not used, and why.
func (r *relays) foreignTrouble() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	for url, line := range r.lines {
		if !line.kept && refusal(line.state.Err) {
			list = append(list, "a peer's relay "+url+" is not used: "+line.state.Err.Error())
		}
	}
	slices.Sort(list)
	return list
}

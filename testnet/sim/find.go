package sim

import (
	"context"
	"errors"

	"amesh/identity"
)

// find is the Directory of one process: everybody's newest record is in reach of
// everybody, as long as luck lasts.
type find struct{ pr *process }

var errNotFound = errors.New("no record")

func (f find) Find(ctx context.Context, peer identity.AMID) (*identity.AgentRecord, error) {
	w := f.pr.p.w
	w.mu.Lock()
	raw := w.book[peer]
	lost := f.pr.p.luck.Float64() < w.Weather.NotFound
	w.mu.Unlock()
	if err := ctx.Err(); err != nil || raw == nil || lost {
		return nil, errors.Join(err, errNotFound)
	}
	return identity.ParseAgentRecord(raw)
}

// ask is the KeySource of one process: it asks the peer's node where a direct path
// leads to it.
type ask struct{ pr *process }

func (a ask) OneTimeKeys(ctx context.Context, peer identity.AMID, _ *identity.AgentRecord) (x25519, kem []byte) {
	p := a.pr.p
	w := p.w
	answer := make(chan [2][]byte, 1)
	w.mu.Lock()
	to := w.byAMID[peer]
	way, back := direction{p.AMID(), peer}, direction{peer, p.AMID()}
	open := to != nil && w.net.direct[way] && !w.net.cut[p.AMID()] && !w.net.cut[peer]
	if open {
		w.after(w.delay(way), func() {
			pr := to.proc
			if pr == nil || pr.dead.Load() {
				return
			}
			go func() {
				x25519, kem, err := pr.a.OneTimeKeys(pr.ctx, p.Name)
				w.mu.Lock()
				defer w.mu.Unlock()
				if err == nil && !pr.dead.Load() {
					w.after(w.delay(back), func() { answer <- [2][]byte{x25519, kem} })
				}
			}()
		})
	}
	w.mu.Unlock()
	if !open {
		return nil, nil
	}
	select {
	case <-ctx.Done():
		return nil, nil
	case keys := <-answer:
		return keys[0], keys[1]
	}
}

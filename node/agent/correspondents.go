package agent

import (
	"time"

	"amesh/identity"
	"amesh/internal/store"
)

// Who may leave more than a knock in our mailbox (relay.md §9).

// Correspondents lists whom we know: peers with a grant that holds, and those with whom
// a knock was exchanged, until what was left for us because of it has expired, or whose
// invite we have and did not enter by yet. Whom the
// policy blocks, and whose key has left, is not among them.
func (a *Agent) Correspondents() ([]identity.AMID, error) {
	found := make(map[identity.AMID]bool)
	now := a.expiry.now()
	err := a.Store.View(func(r store.Reader) error {
		for _, kind := range []byte{rowGrant, rowReturn} {
			err := scanJSON(r, a.key(kind), nil, func(_ []byte, g Grant) bool {
				if g.Valid(now) {
					found[g.Peer] = true
				}
				return true
			})
			if err != nil {
				return err
			}
		}
		if err := a.wishes(r, func(peer identity.AMID) { found[peer] = true }); err != nil {
			return err
		}
		return scanJSON(r, a.key(rowKnock), nil, func(_ []byte, row knockRow) bool {
			if a.awaits(&row, now) {
				found[row.Peer] = true
			}
			return true
		})
	})
	if err != nil {
		return nil, err
	}
	list := []identity.AMID{}
	for peer := range found {
		if !a.shuns(peer) {
			list = append(list, peer)
		}
	}
	return list, nil
}

// awaits reports whether mail may come because of a knock: an answer to ours, or what
// somebody writes whom we let in.
func (a *Agent) awaits(row *knockRow, now time.Time) bool {
	if !row.Out && row.State != knockAccepted {
		return false
	}
	return now.Before(row.Expires.Add(a.Limits.RelayRetention))
}

// Corresponds reports whether a peer is one of Correspondents by its grant.
func (a *Agent) Corresponds(peer identity.AMID) (held bool, err error) {
	if a.shuns(peer) {
		return false, nil
	}
	err = a.Store.View(func(r store.Reader) error {
		held, err = a.holdsGrant(r, peer, a.expiry.now())
		return err
	})
	return held, err
}

func (a *Agent) shuns(peer identity.AMID) bool {
	return a.Policy().Blocked(peer) || a.parted(peer)
}

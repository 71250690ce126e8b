package agent

import (
	"time"

	"amesh/internal/store"
	"amesh/knock"
)

// Grants outlive sessions (session.md §8.3).

// row is the kind of row in which the grant stands.
func (g *Grant) row() byte {
	if g.Return {
		return rowReturn
	}
	return rowGrant
}

// grantFor is the grant that goes with an accepted knock: the one that let the peer in,
// as it is, or else a new one. A knock never makes a grant longer or wider.
func (c *clerk) grantFor(e knock.AnswerEvent, intent string, until, now time.Time) (Grant, error) {
	fresh := Grant{Peer: c.peer, Since: now, Expires: until, Policy: c.a.Policy().Version()}
	if e != knock.PolicyAccepts {
		return fresh, nil
	}
	held, err := c.grants()
	for _, g := range held {
		if g.Covers(intent, now) {
			return g, err
		}
	}
	if !c.a.Policy().Welcomes(c.peer) {
		for _, g := range held {
			if g.Valid(now) {
				return g, err // let in for another reason than the intent
			}
		}
	}
	return fresh, err
}

// grants are the yes that we gave the peer and the return of its yes to us, those that
// there are.
func (c *clerk) grants() (held []Grant, err error) {
	err = c.a.Store.View(func(r store.Reader) error {
		for _, kind := range []byte{rowGrant, rowReturn} {
			g, found, err := getJSON[Grant](r, c.a.key(kind, c.peer[:]))
			if err != nil {
				return err
			}
			if found {
				held = append(held, g)
			}
		}
		return nil
	})
	return held, err
}

package agent

import (
	"bytes"
	"context"
	"net/http"
	"slices"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/store"
	"amesh/node/api"
)

// What is remembered of other agents, for the owner.

// Contacts lists the agents that are remembered.
func (a *Agent) Contacts() ([]api.Contact, error) {
	list := []api.Contact{}
	err := a.Store.View(func(r store.Reader) error {
		all, err := a.remembered(r)
		if err != nil {
			return err
		}
		for _, peer := range all {
			c, err := a.contact(r, peer)
			if err != nil {
				return err
			}
			list = append(list, c)
		}
		return nil
	})
	return list, err
}

// Contact is what is remembered of one agent.
func (a *Agent) Contact(peer string) (api.Contact, error) {
	amid, err := a.other(peer)
	if err != nil {
		return api.Contact{}, err
	}
	var c api.Contact
	err = a.Store.View(func(r store.Reader) error {
		all, err := a.remembered(r)
		if err != nil {
			return err
		}
		if !slices.Contains(all, amid) {
			return noContact(amid)
		}
		c, err = a.contact(r, amid)
		return err
	})
	return c, err
}

func noContact(amid identity.AMID) error {
	return api.Problemf(http.StatusNotFound, api.CodeNotFound, "nothing is remembered of %s", amid).
		WithHint("`amesh contacts` lists those of whom there is; `amesh contacts add` gives an agent a name")
}

// remembered lists the agents of whom there is more than a knock, in order.
func (a *Agent) remembered(r store.Reader) ([]identity.AMID, error) {
	found := make(map[identity.AMID]bool) // false: there is no more than guards against old keys
	for _, kind := range []byte{rowPeer, rowContact, rowGrant, rowReturn, rowVerified, rowRevoked, rowName, rowJoin} {
		prefix := a.key(kind)
		slight := kind == rowPeer || kind == rowContact || kind == rowName
		err := r.Scan(prefix, nil, func(k, _ []byte) bool {
			peer := identity.AMID(k[len(prefix):])
			found[peer] = found[peer] || !slight
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	delete(found, a.amid) // our own revocation
	var list []identity.AMID
	for peer, much := range found {
		name, _, err := getJSON[nameRow](r, a.key(rowName, peer[:]))
		if err != nil {
			return nil, err
		}
		if much || !name.Removed {
			list = append(list, peer)
		}
	}
	slices.SortFunc(list, func(x, y identity.AMID) int { return bytes.Compare(x[:], y[:]) })
	return list, nil
}

func (a *Agent) contact(r store.Reader, peer identity.AMID) (api.Contact, error) {
	c := api.Contact{AMID: peer, Agent: a.Name, Revoked: a.revocation(peer), Blocked: a.Policy().Blocked(peer), Source: "none"}
	name, named, err := getJSON[nameRow](r, a.key(rowName, peer[:]))
	if err != nil {
		return c, err
	}
	if c.Name = name.Name; named && !name.Removed {
		c.Source = "manual"
	}
	row, _, err := getJSON[peerRow](r, a.key(rowPeer, peer[:]))
	if err != nil {
		return c, err
	}
	if !row.LastSeen.IsZero() {
		c.LastSeen = &row.LastSeen
	}
	if err := a.addGrants(r, &c); err != nil {
		return c, err
	}
	_, joined, err := getJSON[joinRow](r, a.key(rowJoin, peer[:]))
	if err != nil {
		return c, err
	}
	if joined {
		c.Source = "invite"
	}
	c.Verified, err = a.verifiedAt(r, peer)
	return c, err
}

// addGrants shows the grants that hold.
func (a *Agent) addGrants(r store.Reader, c *api.Contact) error {
	now := a.expiry.now()
	for _, kind := range []byte{rowGrant, rowReturn} {
		g, found, err := getJSON[Grant](r, a.key(kind, c.AMID[:]))
		if err != nil {
			return err
		}
		if !found || !g.Valid(now) || a.parted(c.AMID) || c.Blocked {
			continue
		}
		c.Granted, c.Source = true, "knock"
		v := api.ContactGrant{From: "owner", Intents: g.Intents, Limits: limitsView(g.Limits), Since: g.Since, Invite: g.Invite, Label: g.Label}
		if g.Return {
			v.From = "return"
		}
		if !g.Expires.IsZero() {
			v.Expires = &g.Expires
		}
		c.Grants = append(c.Grants, v)
	}
	if slices.ContainsFunc(c.Grants, func(g api.ContactGrant) bool { return g.Invite != "" }) {
		c.Source = "invite"
	}
	return nil
}

// RemoveContact ends what there is with a contact.
func (a *Agent) RemoveContact(ctx context.Context, peer string) (api.Contact, error) {
	was, err := a.Contact(peer)
	if err != nil {
		return was, err
	}
	_, err = ask(ctx, a, was.AMID, func(c *clerk) (struct{}, error) { return struct{}{}, c.removeContact() })
	return was, err
}

// removeContact closes sessions, takes back what waits, and deletes grants, name and what
// the owner found in comparing. The highest keys that were seen stay, and so does what
// the inbox has. It runs on the clerk's goroutine.
func (c *clerk) removeContact() error {
	if err := c.ready(); err != nil {
		return err
	}
	b := c.begin()
	for _, s := range c.sess {
		switch {
		case s.waiting():
			b.erase(s)
			c.landKnock(b, s)
			c.takeTailBack(b, s)
			c.setKnockState(b, s.KnockHash, knockExpired)
		case s.accepted() && !s.Closed:
			if err := c.end(b, s, content.ClosePolicy, flightControl); err != nil {
				return err
			}
		}
	}
	for _, o := range c.open {
		if undelivered(o) {
			row := *o
			row.State, row.Reason, row.Tail = api.StateCancelled, "", false
			c.finish(b, row)
		}
	}
	b.write(func(tx store.Tx, _ *peerRow, after *[]func()) error {
		*after = append(*after, func() { c.trusted, c.wish = false, nil }, c.a.changed.broadcast)
		for _, kind := range []byte{rowGrant, rowReturn, rowVerified, rowJoin} {
			if err := tx.Delete(c.a.key(kind, c.peer[:])); err != nil {
				return err
			}
		}
		if err := c.a.sendGuestAway(tx, c.peer); err != nil {
			return err
		}
		return setJSON(tx, c.a.key(rowName, c.peer[:]), nameRow{Removed: true})
	})
	return c.commit(b)
}

package agent

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"amesh/identity"
	"amesh/internal/store"
	"amesh/node/api"
)

// What the owner calls other agents. A name stands here only, and may be used wherever an
// AMID may: so no two may be alike, and none may look like another (T78).

// maxPetname is the longest name, in bytes.
const maxPetname = 32

// nameRow is a contact's name.
type nameRow struct {
	Name string `json:"name,omitempty"`
	// Removed hides a contact of which nothing is left but what guards against old keys.
	Removed bool `json:"removed,omitempty"`
}

// petname normalises a name: lower case, without the space around it. Letters of other
// scripts are refused, since most of them look like one of these to somebody.
func petname(s string) (string, error) {
	name := strings.ToLower(strings.TrimSpace(s))
	edge := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
	bad := name == "" || len(name) > maxPetname || !edge(name[0]) || !edge(name[len(name)-1])
	for i := range len(name) {
		bad = bad || !edge(name[i]) && !strings.ContainsRune("._-", rune(name[i]))
	}
	if _, err := identity.ParseAMID(name); bad || err == nil {
		return "", api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%.40q cannot be the name of a contact", s).
			WithHint("use 1 to %d of a-z, 0-9, dot, hyphen and underscore, with a letter or digit at both ends", maxPetname)
	}
	return name, nil
}

// lookalikes are what one reads for another. The longer ones come first.
var lookalikes = strings.NewReplacer(
	"rn", "m", "vv", "w", "cl", "d", "nn", "m",
	"0", "o", "1", "l", "i", "l", "j", "l", "5", "s", "2", "z", "8", "b", "6", "b", "9", "g", "q", "g", "u", "v",
	".", "", "-", "", "_", "",
)

// looks is what is left of a name when all that looks alike is the same. Two contacts
// must differ in it.
func looks(name string) string {
	for {
		next := lookalikes.Replace(name)
		if next == name {
			return next
		}
		name = next
	}
}

// nameOf is what we call a peer, empty for nothing.
func (a *Agent) nameOf(r store.Reader, peer identity.AMID) (string, error) {
	row, _, err := getJSON[nameRow](r, a.key(rowName, peer[:]))
	return row.Name, err
}

// nameFree returns CodeNameTaken or CodeNameLike when another contact than peer has a
// name, or one that looks like it.
func (a *Agent) nameFree(r store.Reader, name string, peer identity.AMID) error {
	look := looks(name)
	var no error
	prefix := a.key(rowName)
	err := scanJSON(r, prefix, nil, func(k []byte, row nameRow) bool {
		other := identity.AMID(k[len(prefix):])
		switch {
		case row.Name == "" || other == peer:
		case row.Name == name:
			no = api.Problemf(http.StatusConflict, api.CodeNameTaken, "%s is the name of %s", name, other).
				WithHint("choose another, or rename that contact first")
		case looks(row.Name) == look:
			no = api.Problemf(http.StatusConflict, api.CodeNameLike, "%s could be taken for %s, the name of %s", name, row.Name, other).
				WithHint("choose one that looks different")
		}
		return no == nil
	})
	if err == nil {
		err = no
	}
	return err
}

// setName gives a peer a name that nameFree lets it have; empty takes it away.
func (a *Agent) setName(tx store.Tx, peer identity.AMID, name string) error {
	key := a.key(rowName, peer[:])
	if name == "" {
		return tx.Delete(key)
	}
	if err := a.nameFree(tx, name, peer); err != nil {
		return err
	}
	return setJSON(tx, key, nameRow{Name: name})
}

// Resolve reads what names another agent: an AMID, a DID, or the name of a contact.
func (a *Agent) Resolve(text string) (identity.AMID, error) {
	amid, bad := identity.ParseAMID(text)
	if bad == nil {
		return amid, nil
	}
	name, err := petname(text)
	if err != nil {
		return amid, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", bad).
			WithHint("the peer's owner sees its AMID with `amesh id`; `amesh contacts` lists the names that may stand for one")
	}
	found := false
	err = a.Store.View(func(r store.Reader) error {
		prefix := a.key(rowName)
		return scanJSON(r, prefix, nil, func(k []byte, row nameRow) bool {
			if found = row.Name == name; found {
				amid = identity.AMID(k[len(prefix):])
			}
			return !found
		})
	})
	if err == nil && !found {
		err = api.Problemf(http.StatusNotFound, api.CodeNotFound, "%s is neither the name of a contact nor an AMID", name).
			WithHint("`amesh contacts` lists the names; the peer's owner sees its AMID with `amesh id`")
	}
	return amid, err
}

// AddContact gives an agent a name, whether it is known or not.
func (a *Agent) AddContact(ctx context.Context, r api.ContactRequest) (api.Contact, error) {
	amid, err := identity.ParseAMID(r.AMID)
	if err != nil {
		return api.Contact{}, api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", err).
			WithHint("the peer's owner sees its AMID with `amesh id`")
	}
	if amid == a.amid {
		return api.Contact{}, errOwn()
	}
	return a.rename(ctx, amid, r.Name)
}

// RenameContact changes what we call a contact.
func (a *Agent) RenameContact(ctx context.Context, peer string, r api.RenameRequest) (api.Contact, error) {
	amid, err := a.other(peer)
	if err != nil {
		return api.Contact{}, err
	}
	if r.Name != "" {
		return a.rename(ctx, amid, r.Name)
	}
	return a.changeContact(ctx, amid, func(tx store.Tx) error { return a.setName(tx, amid, "") })
}

func (a *Agent) rename(ctx context.Context, amid identity.AMID, to string) (api.Contact, error) {
	name, err := petname(to)
	if err != nil {
		return api.Contact{}, err
	}
	return a.changeContact(ctx, amid, func(tx store.Tx) error { return a.setName(tx, amid, name) })
}

// changeContact changes what is remembered of a contact, and shows it.
func (a *Agent) changeContact(ctx context.Context, amid identity.AMID, change func(store.Tx) error) (c api.Contact, err error) {
	err = a.Store.Update(ctx, func(tx store.Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		c, err = a.contact(tx, amid)
		return err
	})
	if err != nil {
		return api.Contact{}, a.storageProblem(err)
	}
	return c, nil
}

func errOwn() error {
	return api.Problemf(http.StatusBadRequest, api.CodeInvalid, "this is the agent's own AMID").WithHint("name another agent")
}

// proposal is the name for a contact that calls itself so, or why it does not get it.
func (a *Agent) proposal(r store.Reader, called string, peer identity.AMID) (name, why string) {
	if called == "" {
		return "", ""
	}
	name, err := petname(called)
	if err == nil {
		err = a.nameFree(r, name, peer)
	}
	if err != nil {
		return "", fmt.Sprint(err)
	}
	return name, ""
}

package registry

import (
	"net/http"
	"time"

	"amesh/identity"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// How many certificates are issued on request in 24 hours: for one agent, and for all
// agents of one owner. Each that another replaces stands in the revocation list until
// it would have expired, and the list is everybody's: at this rate one owner fills it
// in no year.
const (
	certificatesPerAgent = 10
	certificatesPerOwner = 200
)

// mayIssue bounds how fast one owner makes the revocation list grow.
func mayIssue(tx *db.Tx, who identity.AMID, owner string, now time.Time) error {
	agent, all, err := tx.IssuedSince(who, owner, now.Add(-24*time.Hour))
	if err != nil {
		return err
	}
	switch {
	case agent >= certificatesPerAgent:
		err = tooManyIssued("%d certificates for this agent in 24 hours: that is all", agent)
	case all >= certificatesPerOwner:
		err = tooManyIssued("%d certificates for the agents of this owner in 24 hours: that is all", all)
	}
	return err
}

func tooManyIssued(format string, n int) error {
	e := wire.Errorf(http.StatusTooManyRequests, wire.CodeRateLimited, format, n)
	e.RetryAfter = time.Hour
	return e
}

package db

import (
	"fmt"
	"time"

	"amesh/identity"
)

// absent holds of anonymous agents that were not seen from $1 on, not even to leave a
// signed prekey, and on whom nothing rests: they are not revoked, which has to stay, have
// no certificate, card, record or schema, run no organisation and belong to none, and
// there are no words by or about them, which other scores are made of.
const absent = `agents.last_seen < $1 AND agents.updated_at < $1 AND agents.tier = 'anonymous'
	AND NOT EXISTS (SELECT 1 FROM revocations x WHERE x.amid = agents.amid)
	AND NOT EXISTS (SELECT 1 FROM signed_prekeys x WHERE x.amid = agents.amid AND x.uploaded_at >= $1)
	AND NOT EXISTS (SELECT 1 FROM cards x WHERE x.amid = agents.amid)
	AND NOT EXISTS (SELECT 1 FROM records x WHERE x.amid = agents.amid)
	AND NOT EXISTS (SELECT 1 FROM schemas x WHERE x.publisher = agents.amid)
	AND NOT EXISTS (SELECT 1 FROM certificates x WHERE x.amid = agents.amid)
	AND NOT EXISTS (SELECT 1 FROM vouchers x WHERE x.amid = agents.amid)
	AND NOT EXISTS (SELECT 1 FROM organizations x WHERE x.admin_amid = agents.amid)
	AND NOT EXISTS (SELECT 1 FROM organization_members x WHERE x.amid = agents.amid)
	AND NOT EXISTS (SELECT 1 FROM ratings x WHERE x.rater = agents.amid)
	AND NOT EXISTS (SELECT 1 FROM ratings x WHERE x.target = agents.amid)
	AND NOT EXISTS (SELECT 1 FROM session_reports x WHERE x.reporter = agents.amid)
	AND NOT EXISTS (SELECT 1 FROM session_sides x WHERE x.agent = agents.amid)`

// Absent are anonymous agents that were not seen since a time and on whom nothing rests,
// those that are gone for longest first.
func (t *Tx) Absent(since time.Time, limit int) (list []identity.AMID, err error) {
	err = t.Query(func(scan func(...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		who, err := identity.ParseAMID(text)
		list = append(list, who)
		return err
	}, "SELECT agents.amid FROM agents WHERE "+absent+" ORDER BY agents.last_seen LIMIT $2", Micros(since), limit)
	if err != nil {
		return nil, fmt.Errorf("absent agents: %w", err)
	}
	return list, nil
}

// RemoveAbsent removes an agent with all that is under its name, if it still is Absent.
func (t *Tx) RemoveAbsent(who identity.AMID, since time.Time) error {
	n, err := t.Exec("DELETE FROM agents WHERE "+absent+" AND agents.amid = $2", Micros(since), who.String())
	if err != nil {
		return fmt.Errorf("remove absent agent: %w", err)
	}
	if n == 0 {
		return nil
	}
	for _, table := range []string{"reputations", "reputation_tags"} {
		if _, err := t.Exec("DELETE FROM "+table+" WHERE amid = $1", who.String()); err != nil {
			return fmt.Errorf("remove absent agent: %w", err)
		}
	}
	return nil
}

package db

import (
	"fmt"
	"time"

	"amesh/registry/wire"
)

// Group is how many agents are alike, and what their reputations add up to.
type Group struct {
	Tier       wire.Tier
	Status     wire.Status
	Agents     int
	Reputation float64
}

// Groups counts all agents. Those that were not seen since alive count as offline.
func (t *Tx) Groups(alive time.Time) (all []Group, err error) {
	err = t.Query(func(scan func(...any) error) error {
		var g Group
		if err := scan(&g.Tier, &g.Status, &g.Agents, &g.Reputation); err != nil {
			return err
		}
		all = append(all, g)
		return nil
	}, `SELECT tier, CASE WHEN last_seen < $1 THEN 'offline' ELSE status END AS shown, count(*), sum(reputation)
		FROM agents GROUP BY tier, shown`, Micros(alive))
	if err != nil {
		return nil, fmt.Errorf("count agents: %w", err)
	}
	return all, nil
}

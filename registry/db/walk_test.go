package db

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"amesh/identity"
	"amesh/registry/wire"
)

// A search that may look at little at a time gets there in short and empty pages, and
// finds what one that may look at everything finds.
func TestShortPagesLoseNobody(t *testing.T) {
	d, err := Open(t.Context(), filepath.Join(t.TempDir(), "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	const agents = 60
	err = d.Write(t.Context(), func(tx *Tx) error {
		for i := range agents {
			now := time.Now()
			a := Agent{AMID: identity.AMID{byte(i), 1}, SigningKey: identity.PublicKey{1}, ExchangeKey: [32]byte{9}, Tier: wire.TierAnonymous,
				Status: wire.StatusOnline, Reputation: float64(i) / agents, LastSeen: now, Created: now, Updated: now,
				Capabilities: []string{[]string{"left", "right"}[i%2], fmt.Sprintf("own%d", i)}}
			if i%20 == 7 {
				a.Capabilities = append(a.Capabilities, "left")
			}
			if err := tx.PutAgent(a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{1, 2, 50} {
		var found []byte
		pages, empty := 0, 0
		err := d.View(t.Context(), func(tx *Tx) error {
			for from := (&Position{}); from != nil && pages < agents; pages++ {
				hits, err := tx.find(wire.SearchQuery{Q: "right left"}, *from, limit, 2*5)
				if err != nil {
					return err
				}
				if len(hits.Found) == 0 {
					empty++
				}
				for _, h := range hits.Found {
					found = append(found, h.Agent.AMID[0])
				}
				from = hits.Next
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if string(found) != string([]byte{47, 27, 7}) || empty == 0 || pages < agents/2/5 {
			t.Errorf("pages of %d: found %v on %d pages, %d of them empty", limit, found, pages, empty)
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"amesh/identity"
	"amesh/registry"
	"amesh/registry/db"
	"amesh/registry/wire"
)

// side is a registry on one of the databases.
type side struct {
	kind    string
	db      *db.DB
	handler http.Handler
}

// startAll starts a registry on each database and fills them with the same agents. stop
// ends them, also after an error.
func startAll(ctx context.Context, urls []string, agents int, stdout io.Writer) (sides []*side, stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, len(urls))
	started := 0
	stop = func() error {
		cancel()
		var all []error
		for range started {
			all = append(all, <-done)
		}
		return errors.Join(all...)
	}
	for _, url := range urls {
		d, err := db.Open(ctx, url)
		if err != nil {
			return nil, stop, err
		}
		s, err := registry.New(registry.Config{
			Open:   func(context.Context) (*db.DB, error) { return d, nil },
			Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		})
		if err != nil {
			return nil, stop, errors.Join(err, d.Close())
		}
		started++
		go func() { done <- s.Run(ctx) }()
		<-s.Ready()
		sides = append(sides, &side{kind: d.Kind(), db: d, handler: s.Handler()})
	}
	errs := make([]error, len(sides))
	var wg sync.WaitGroup
	for i, s := range sides {
		wg.Go(func() {
			start := time.Now()
			errs[i] = s.fill(ctx, agents)
			fmt.Fprintf(stdout, "%-9s %d agents in %s\n", s.kind, agents, time.Since(start).Round(time.Second))
		})
	}
	wg.Wait()
	return sides, stop, errors.Join(errs...)
}

func (s *side) fill(ctx context.Context, agents int) error {
	c := newCrowd()
	members := make([]member, min(agents, templates))
	for i := range members {
		members[i] = c.one()
	}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		for _, m := range members {
			if err := m.settle(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.copies(ctx, c, members, agents); err != nil {
		return err
	}
	return s.db.Tidy(ctx)
}

// member is an agent with its card, if it has one.
type member struct {
	agent db.Agent
	card  *identity.Card
}

func (m member) settle(tx *db.Tx) error {
	if err := tx.PutAgent(m.agent); err != nil || m.card == nil {
		return err
	}
	return tx.PutCard(m.card)
}

// crowd makes agents, the same ones every time: all can chat, every tenth has the same
// subject, every other stands left or right, and each has something of its own. Every
// tenth has a card. Half of them have the reputation that all begin with.
type crowd struct {
	r   *rand.Rand
	n   int
	now time.Time
}

func newCrowd() *crowd {
	return &crowd{r: rand.New(rand.NewPCG(1, 2)), now: time.Now().Truncate(time.Second)}
}

func (c *crowd) seen() time.Time { return c.now.Add(-time.Duration(c.r.Int64N(int64(48 * time.Hour)))) }

func (c *crowd) reputation(i int) float64 {
	if i%2 == 0 {
		return c.r.Float64()
	}
	return 0.5
}

func (c *crowd) one() member {
	i := c.n
	c.n++
	var seed [32]byte
	for j := range seed {
		seed[j] = byte(c.r.Uint32())
	}
	key, err := identity.PrivateKeyFromSeed(seed[:])
	if err != nil {
		panic(err) // 32 bytes are a seed
	}
	name := "Agent of the crowd"
	side := []string{"left", "right"}[i%2]
	a := db.Agent{
		AMID: key.AMID(), SigningKey: key.Public(), ExchangeKey: [32]byte{9}, DisplayName: &name, RelayEndpoint: "wss://relay.example/v1/connect",
		Capabilities: []string{"chat", "side/" + side, fmt.Sprintf("subject%d/advice", i%10), fmt.Sprintf("own%d", i)},
		Tier:         wire.TierAnonymous, Status: wire.StatusOnline,
		LastSeen: c.seen(), Created: c.now, Updated: c.now,
	}
	a.Reputation = c.reputation(i)
	switch i % 100 {
	case 0:
		a.Tier = wire.TierOrganization
	case 1, 2, 3:
		a.Tier = wire.TierVerified
	}
	if i%10 != 0 {
		return member{agent: a}
	}
	raw, err := identity.SignCard(key, identity.Card{Sequence: 1, Issued: c.now, Expires: c.now.Add(identity.CardLife),
		Name: name, Description: "Answers questions of many kinds, in several languages, at any time of the day.",
		Capabilities: []identity.Capability{
			{ID: "travel/flights/search", Category: "travel", Subcategory: "flights", Actions: []string{"search", "compare"}},
			{ID: "translate/text", Category: "language", Actions: []string{"translate"}, Description: "Between German, English and French."},
		}})
	if err != nil {
		panic(err) // nothing in it can be refused
	}
	card, err := identity.ParseCard(raw)
	if err != nil {
		panic(err)
	}
	return member{a, card}
}

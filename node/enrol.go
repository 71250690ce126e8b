package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"amesh/identity"
	"amesh/node/agent"
	"amesh/registry/client"
)

// What a registry is told about an agent, and what it keeps for it: registration,
// record, card, presence, one-time keys, and the end of its key.

// Numbers of the one-time keys that lie at a registry.
const (
	// depositFull is how many of each kind are left there, depositLow below how many
	// new ones are brought.
	depositFull    = 100
	depositFullKEM = 20
	depositLow     = 20
	depositLowKEM  = 5
)

// enrolment is what a registry has of an agent, as far as this process knows.
type enrolment struct {
	registered bool
	record     []byte
	card       []byte
	words      string    // capabilities, as they were told
	present    time.Time // when it was last told that the agent is there
	revoked    bool      // it has the statement
}

func (l *registryLine) enrolment(amid identity.AMID) *enrolment {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.enrolments[amid]
	if e == nil {
		e = &enrolment{}
		l.enrolments[amid] = e
	}
	return e
}

// tend brings the registry up to date about all agents, and learns from it whose keys
// have left. It stops at the first error.
func (l *registryLine) tend(ctx context.Context) error {
	if _, err := l.client.Learn(ctx); err != nil {
		return err
	}
	for _, r := range l.rooms() {
		if err := l.tendAgent(ctx, r); err != nil {
			return fmt.Errorf("agent %s: %w", r.agent.Name, err)
		}
	}
	if err := l.learnTrust(ctx); err != nil {
		return err
	}
	return l.learnDeparted(ctx)
}

// tendAgent does for one agent what is due. Only tend calls it, so that an enrolment is
// changed by one goroutine.
func (l *registryLine) tendAgent(ctx context.Context, r *room) error {
	e := l.enrolment(r.agent.AMID())
	if v := r.agent.OwnRevocation(); v != nil {
		return l.sayFarewell(ctx, r, e, v)
	}
	for _, step := range []func(context.Context, *room, *enrolment) error{
		l.register, l.tellWords, l.tellRecord, l.tellCard, l.bringKeys, l.tellPresence, l.learnCertificate,
	} {
		// What a 0.2 registry does not have is no failure.
		if err := step(ctx, r, e); err != nil && !errors.Is(err, client.ErrUnsupported) {
			return err
		}
	}
	return nil
}

// register registers the agent, once in the life of this process: a registry that knows
// it already takes what changed.
func (l *registryLine) register(ctx context.Context, r *room, e *enrolment) error {
	if e.registered {
		return nil
	}
	card := r.card.content()
	words := capabilityIDs(card)
	err := l.client.Register(ctx, r.key, client.Registration{
		Exchange: r.agent.ExchangeKey(), Name: card.Name, Capabilities: words, Relay: r.home(),
	})
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	if l.client.Kind() == client.KindAmesh {
		known := l.book.has(registration{r.agent.AMID(), l.client.URL()})
		if err := l.book.remember(ctx, registration{r.agent.AMID(), l.client.URL()}, l.clock()); err != nil {
			return err
		}
		if !known {
			l.joined()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.registered, e.words = true, strings.Join(words, " ")
	return nil
}

// tellWords tells the capabilities when they changed since the registration.
func (l *registryLine) tellWords(ctx context.Context, r *room, e *enrolment) error {
	words := capabilityIDs(r.card.content())
	if strings.Join(words, " ") == e.words {
		return nil
	}
	if err := l.client.SetCapabilities(ctx, r.key, words); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	e.words = strings.Join(words, " ")
	return nil
}

func (l *registryLine) tellRecord(ctx context.Context, r *room, e *enrolment) error {
	raw := r.record()
	if raw == nil || bytes.Equal(raw, e.record) {
		return nil
	}
	if err := l.client.PutRecord(ctx, r.key, raw); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	e.record = raw
	return nil
}

func (l *registryLine) tellCard(ctx context.Context, r *room, e *enrolment) error {
	raw, err := r.card.signed(ctx)
	if err != nil {
		return err
	}
	if bytes.Equal(raw, e.card) || raw == nil {
		return nil
	}
	if err := l.client.PutCard(ctx, r.key, raw); err != nil {
		return fmt.Errorf("card: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e.card = raw
	return nil
}

// hasCard reports whether the registry has the card with these bytes.
func (l *registryLine) hasCard(amid identity.AMID, raw []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.enrolments[amid]
	return e != nil && raw != nil && bytes.Equal(e.card, raw)
}

// bringKeys brings one-time keys when few are left, or all are of another epoch.
func (l *registryLine) bringKeys(ctx context.Context, r *room, e *enrolment) error {
	if e.record == nil {
		return nil // nobody can use keys without the bundle
	}
	left, err := l.client.PutOneTimeKeys(ctx, r.key, nil) // which brings none, and counts
	if err != nil {
		return fmt.Errorf("one-time keys: %w", err)
	}
	x25519, kem := 0, 0
	if left.X25519 < depositLow {
		x25519 = depositFull - left.X25519
	}
	if left.KEM < depositLowKEM {
		kem = depositFullKEM - left.KEM
	}
	if x25519+kem == 0 {
		return nil
	}
	keys, err := r.agent.OneTimeDeposit(ctx, l.client.URL(), x25519, kem)
	if err != nil || len(keys) == 0 {
		return err
	}
	if _, err := l.client.PutOneTimeKeys(ctx, r.key, keys); err != nil {
		return fmt.Errorf("one-time keys: %w", err)
	}
	return nil
}

func (l *registryLine) tellPresence(ctx context.Context, r *room, e *enrolment) error {
	if now := l.clock(); now.Sub(e.present).Abs() >= presenceEvery {
		if err := l.client.SetStatus(ctx, r.key, "online"); err != nil {
			return fmt.Errorf("status: %w", err)
		}
		e.present = now
	}
	return nil
}

// sayFarewell leaves the statement by which the agent's key has left.
func (l *registryLine) sayFarewell(ctx context.Context, r *room, e *enrolment, v *identity.Revocation) error {
	if e.revoked {
		return nil
	}
	err := l.client.PutRevocation(ctx, v.Raw())
	if err != nil && !errors.Is(err, client.ErrUnsupported) {
		return fmt.Errorf("revocation: %w", err)
	}
	e.revoked = true
	return nil
}

// leave tells the registry that our agents are not there any more. ctx has ended.
func (l *registryLine) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), awayTime)
	defer cancel()
	for _, r := range l.rooms() {
		if e := l.enrolment(r.agent.AMID()); e.present.IsZero() || r.agent.OwnRevocation() != nil {
			continue
		}
		if err := l.client.SetStatus(ctx, r.key, "offline"); err != nil {
			l.log.Debug("registry was not told that the agent goes", "agent", r.agent.Name, "err", err)
			return
		}
	}
}

// departedPages is how many pages of keys that left are read at a time.
const departedPages = 10

// learnDeparted looks at whose keys have left since it was last looked at. It asks for
// all, and so does not tell whom our agents know. Without a statement of the key itself
// a revocation is a registry's word, on which nothing is done.
func (l *registryLine) learnDeparted(ctx context.Context) error {
	for range departedPages {
		list, next, more, err := l.client.DepartedSince(ctx, l.cursor)
		if errors.Is(err, client.ErrUnsupported) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("revocations: %w", err)
		}
		for _, one := range list {
			if err := l.learnOne(ctx, one); err != nil {
				return err
			}
		}
		l.cursor = next
		if !more {
			return nil
		}
	}
	return nil
}

// learnOne hands a statement to those of our agents whom it concerns.
func (l *registryLine) learnOne(ctx context.Context, one client.Departed) error {
	if one.Statement == nil {
		l.warnings.add(warnRevocation, one.AMID, l.clock())
		return nil
	}
	for _, r := range l.rooms() {
		concerned, err := r.agent.Concerns(one.AMID)
		if err != nil {
			return err
		}
		if !concerned {
			continue
		}
		switch err := r.agent.LearnRevocation(ctx, one.Statement); {
		case errors.Is(err, agent.ErrOwnKey):
			r.keyLost(l.client.URL())
		case err != nil:
			return err
		}
	}
	return nil
}

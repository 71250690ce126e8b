package auth

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// introspector asks an authorization server about tokens (RFC 7662), and remembers its
// answers for a short time, under the tokens' hashes.
type introspector struct {
	Introspection
	client Doer
	now    func() time.Time
	asking chan struct{}

	mu    sync.Mutex
	known map[[sha256.Size]byte]answered
}

type answered struct {
	claims claims
	until  time.Time
}

func newIntrospector(i Introspection, client Doer, now func() time.Time) *introspector {
	return &introspector{Introspection: i, client: client, now: now,
		asking: make(chan struct{}, MaxAsking), known: make(map[[sha256.Size]byte]answered)}
}

// ask returns what the server says of a token. Its Active is to be looked at.
func (i *introspector) ask(ctx context.Context, token string) (claims, error) {
	hash := sha256.Sum256([]byte(token))
	i.mu.Lock()
	known, ok := i.known[hash]
	i.mu.Unlock()
	if ok && i.now().Before(known.until) {
		return known.claims, nil
	}
	select {
	case i.asking <- struct{}{}:
		defer func() { <-i.asking }()
	default:
		return claims{}, fmt.Errorf("%w: %d questions under way", ErrUnavailable, MaxAsking)
	}
	c, err := i.question(ctx, token)
	if err != nil {
		return claims{}, fmt.Errorf("%w: introspection: %v", ErrUnavailable, err)
	}
	i.remember(hash, c)
	return c, nil
}

func (i *introspector) question(ctx context.Context, token string) (claims, error) {
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, i.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return claims{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	r.SetBasicAuth(url.QueryEscape(i.ClientID), url.QueryEscape(i.ClientSecret))
	var c claims
	if err := doJSON(i.client, r, &c); err != nil {
		return claims{}, err
	}
	return c, nil
}

func (i *introspector) remember(hash [sha256.Size]byte, c claims) {
	now := i.now()
	until := now.Add(IntrospectionRefused)
	if c.Active {
		until = now.Add(IntrospectionFresh)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.known) >= MaxIntrospections {
		for h, a := range i.known {
			if !now.Before(a.until) {
				delete(i.known, h)
			}
		}
	}
	if len(i.known) >= MaxIntrospections {
		clear(i.known) // to ask again costs less than to find the oldest
	}
	i.known[hash] = answered{c, until}
}

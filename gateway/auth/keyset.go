package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// keySet is the keys of one issuer. They are asked for when a token first needs them, when
// they are old, and when a token names one that is not there, but never more often
// than every KeysPause.
type keySet struct {
	issuer string
	url    string // empty until the issuer's metadata said it
	client Doer
	now    func() time.Time

	mu      chan struct{} // one token: whoever has it may look at what follows
	keys    []jose.JSONWebKey
	fetched time.Time // when keys came
	asked   time.Time // when they were last asked for
}

func newKeySet(issuer, url string, client Doer, now func() time.Time) *keySet {
	return &keySet{issuer: issuer, url: url, client: client, now: now, mu: make(chan struct{}, 1)}
}

// find returns the keys with which a token with this key id and algorithm may be signed, at
// least one.
func (s *keySet) find(ctx context.Context, id, algorithm string) ([]jose.JSONWebKey, error) {
	select {
	case s.mu <- struct{}{}:
		defer func() { <-s.mu }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %v", ErrUnavailable, ctx.Err())
	}
	now := s.now()
	found := s.matching(id, algorithm)
	fresh := !s.fetched.IsZero() && now.Sub(s.fetched) < KeysFresh
	if fresh && len(found) > 0 {
		return found, nil
	}
	var failed error
	if s.asked.IsZero() || now.Sub(s.asked) >= KeysPause {
		s.asked = now
		if failed = s.fetch(context.WithoutCancel(ctx)); failed == nil { // it is for all who wait
			s.fetched = now
		}
		found = s.matching(id, algorithm)
	}
	switch {
	case s.fetched.IsZero() || now.Sub(s.fetched) >= KeysStale:
		return nil, fmt.Errorf("%w: keys of the issuer: %v", ErrUnavailable, failed)
	case len(found) == 0:
		return nil, fmt.Errorf("%w: key %.40q is none of the issuer's", ErrWrong, id)
	}
	return found, nil
}

func (s *keySet) matching(id, algorithm string) []jose.JSONWebKey {
	var found []jose.JSONWebKey
	for _, k := range s.keys {
		if (id == "" || k.KeyID == id) && (k.Algorithm == "" || k.Algorithm == algorithm) {
			found = append(found, k)
		}
	}
	return found
}

func (s *keySet) fetch(ctx context.Context) error {
	if s.url == "" {
		var says struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := fetchJSON(ctx, s.client, strings.TrimSuffix(s.issuer, "/")+"/.well-known/openid-configuration", &says); err != nil {
			return err
		}
		if says.Issuer != s.issuer {
			return fmt.Errorf("its metadata are of %.100q", says.Issuer)
		}
		if err := checkEndpoint(says.Keys); err != nil {
			return err
		}
		s.url = says.Keys
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := fetchJSON(ctx, s.client, s.url, &set); err != nil {
		return err
	}
	if len(set.Keys) > MaxIssuerKeys {
		return fmt.Errorf("%d keys, more than %d", len(set.Keys), MaxIssuerKeys)
	}
	s.keys = nil
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		// A key that we do not understand is for somebody else.
		if k.UnmarshalJSON(raw) != nil || !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
			continue
		}
		s.keys = append(s.keys, k)
	}
	return nil
}

// fetchJSON gets a document of an issuer.
func fetchJSON(ctx context.Context, client Doer, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	return doJSON(client, r, into)
}

// doJSON sends a request and reads the JSON of its answer.
func doJSON(client Doer, r *http.Request, into any) error {
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %d", answer.StatusCode)
	}
	if kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type")); err == nil && kind == "text/html" {
		return fmt.Errorf("answered a page")
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, AnswerSize+1))
	if err != nil {
		return err
	}
	if len(body) > AnswerSize {
		return fmt.Errorf("answered more than %d bytes", AnswerSize)
	}
	return json.Unmarshal(body, into)
}

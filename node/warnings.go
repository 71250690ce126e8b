package node

import (
	"cmp"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"amesh/identity"
	codec "amesh/internal/wire"
	"amesh/node/api"
	"amesh/registry/client"
)

// Codes of warnings about a registry.
const (
	warnForged     = "record_forged"       // a record that its agent did not sign: a key was swapped or left out
	warnStale      = "record_stale"        // an old bundle after a newer one
	warnConflict   = "bundle_conflict"     // two bundles under one number
	warnTwice      = "one_time_key_twice"  // a one-time key was used twice
	warnOneTime    = "one_time_key_forged" // a one-time key that its agent did not sign
	warnCard       = "card_forged"         // a card that its agent did not sign
	warnTier       = "tier_unproved"       // a tier without a certificate that holds
	warnRevocation = "revocation_forged"   // a revocation that the key did not sign
	warnRoot       = "root_changed"        // another root key than the first
	warnKey        = "key_mismatch"        // a key that is not of the AMID it is given for
	warningsShown  = 72 * time.Hour        // how long after the last time they are a problem
)

var warningTexts = map[string]string{
	warnForged:     "it gave a record that the agent did not sign: a key was swapped or left out on the way",
	warnStale:      "it gave a bundle of keys that is older than one seen before",
	warnConflict:   "it gave another bundle of keys under a number that was seen before",
	warnTwice:      "a one-time key that was left there was used twice: it gave it to two, or somebody who got it used it twice",
	warnOneTime:    "it gave a one-time key that the agent did not sign",
	warnCard:       "it gave a card that the agent did not sign",
	warnTier:       "it names a tier and shows no certificate for it that holds",
	warnRevocation: "it gave a revocation that the key did not sign",
	warnRoot:       "it signs certificates with another key than before: none of them counts",
	warnKey:        "it gave a key that is not the agent's",
}

// warnings are what one registry did that an honest one does not do. There is one of
// each kind, whatever strangers make of it.
type warnings struct {
	url string
	log *slog.Logger

	mu   sync.Mutex
	list []api.Warning
}

// add counts a warning; about is zero where it is about no agent. The first of a kind is
// logged for the owner.
func (w *warnings) add(code string, about identity.AMID, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.list, func(x api.Warning) bool { return x.Code == code })
	if i < 0 {
		i = len(w.list)
		w.list = append(w.list, api.Warning{Code: code, Text: warningTexts[code], First: now})
	}
	x := &w.list[i]
	if now.Sub(x.Last) > warningsShown {
		w.log.Warn("a registry did what an honest one does not do", "registry", w.url, "code", code, "peer", about.String())
	}
	x.Count, x.Last = x.Count+1, now
	if !about.IsZero() {
		x.About = &about
	}
}

// all are the warnings, the newest first.
func (w *warnings) all() []api.Warning {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := slices.Clone(w.list)
	slices.SortFunc(list, func(a, b api.Warning) int { return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Code, b.Code)) })
	return list
}

// trouble are the warnings that the owner should look at now.
func (w *warnings) trouble(now time.Time) []string {
	var list []string
	for _, x := range w.all() {
		if now.Sub(x.Last) <= warningsShown {
			last := ""
			if x.About != nil {
				last = ", last with " + x.About.String()
			}
			list = append(list, "the registry "+w.url+" is not to be trusted: "+x.Text+" ("+x.Code+last+")")
		}
	}
	return list
}

// lieIn is the warning that an error about a record is worth, empty for none.
func lieIn(err error) string {
	switch {
	case errors.Is(err, identity.ErrStaleEpoch), errors.Is(err, identity.ErrStaleBundle):
		return warnStale
	case errors.Is(err, identity.ErrBundleConflict):
		return warnConflict
	case errors.Is(err, identity.ErrSignature), errors.Is(err, identity.ErrMismatch), errors.Is(err, codec.ErrMalformed),
		errors.Is(err, identity.ErrKey), errors.Is(err, identity.ErrKEM), errors.Is(err, identity.ErrLowOrder), errors.Is(err, client.ErrLie):
		return warnForged
	}
	return ""
}

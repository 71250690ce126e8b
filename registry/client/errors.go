package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

var (
	// ErrUnreachable reports a registry that gave no answer in time.
	ErrUnreachable = errors.New("registry unreachable")
	// ErrLegacy reports a signed call at a registry of plain AgentMesh 0.2 that the
	// caller does not allow: what is signed for it could be used elsewhere.
	ErrLegacy = errors.New("the registry understands signed timestamps only, which could be used elsewhere for five minutes: " +
		"allow that if you trust it (registry.allow_legacy)")
	// ErrDowngrade reports a registry that took signatures over the whole request
	// before, and does not now.
	ErrDowngrade = errors.New("the registry took signatures over the whole request before and does not now, somebody may be in between")
	// ErrUnsupported reports a call that the registry does not have.
	ErrUnsupported = errors.New("the registry does not offer that")
	// ErrLie reports an answer that contradicts itself or a signature in it. It says
	// nothing about the agent it is about, and something about the registry.
	ErrLie = errors.New("registry_lied")
	// ErrNotFound reports a registry that does not know what was asked for.
	ErrNotFound = errors.New("not at the registry")
	// ErrMalformed reports an answer of another form than a registry's.
	ErrMalformed = errors.New("not a registry's answer")
)

// StatusError is a registry's no.
type StatusError struct {
	Status     int           // of HTTP
	Code       string        // a code of ours, empty for a 0.2 registry
	Says       string        // the registry's own words, shortened and harmless to show
	RetryAfter time.Duration // 0: it did not say
}

// Error is the registry's own words, or the status where it said nothing.
func (e *StatusError) Error() string {
	if e.Says == "" {
		return fmt.Sprintf("the registry answered %d %s", e.Status, strings.ToLower(http.StatusText(e.Status)))
	}
	return fmt.Sprintf("the registry answered %d: %s", e.Status, e.Says)
}

// Is makes 404 an ErrNotFound.
func (e *StatusError) Is(target error) bool {
	return target == ErrNotFound && e.Status == http.StatusNotFound
}

// Next is what whoever called can do about it, one sentence.
func (e *StatusError) Next() string {
	switch {
	case e.Status == http.StatusUnauthorized:
		return "look at this machine's clock: a registry takes nothing that is more than five minutes old"
	case e.Status == http.StatusForbidden:
		return "the registry does not let this agent do that: ask its operator"
	case e.Status == http.StatusNotFound:
		return "check the AMID, or ask another registry"
	case e.Status == http.StatusTooManyRequests && e.RetryAfter > 0:
		return "try again in " + e.RetryAfter.String()
	case e.Status == http.StatusTooManyRequests:
		return "try again later"
	case e.Status >= 500:
		return "the registry has a problem of its own: try again later, or use another one"
	}
	return "the registry does not take the request: it may be of another version"
}

// Next is what can be done about an error of this package, empty when nothing is to
// be said.
func Next(err error) string {
	if no, ok := errors.AsType[*StatusError](err); ok {
		return no.Next()
	}
	switch {
	case errors.Is(err, ErrUnreachable):
		return "check the URL and the network; everything but the registry goes on"
	case errors.Is(err, ErrLegacy):
		return "allow it with --allow-legacy-registry if you trust whoever runs it, or use an amesh registry"
	case errors.Is(err, ErrDowngrade):
		return "ask the registry's operator; if it was replaced on purpose, remove it from the configuration, start once, and add it again"
	case errors.Is(err, ErrUnsupported):
		return "use an amesh registry for that"
	case errors.Is(err, ErrLie):
		return "do not use that registry until its operator has an explanation"
	case errors.Is(err, ErrMalformed):
		return "check the URL: something else answers there"
	}
	return ""
}

// refusal is what a registry said with a status that is not 2xx.
func refusal(resp *http.Response, body []byte) error {
	e := &StatusError{Status: resp.StatusCode}
	var said struct {
		Error string `json:"error"`
		Code  string `json:"code"`
	}
	// A malformed request is answered with plain text (AgentMesh §3).
	if json.Unmarshal(body, &said) == nil {
		e.Says, e.Code = harmless(said.Error), harmless(said.Code)
	} else if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		e.Says = harmless(string(body))
	}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 && n <= 24*60*60 {
		e.RetryAfter = time.Duration(n) * time.Second
	}
	return e
}

// harmless shortens a registry's text and takes out what a terminal would obey.
func harmless(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsGraphic(r) {
			return -1
		}
		return r
	}, s)
	if len(s) <= maxSaid {
		return s
	}
	cut := maxSaid
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

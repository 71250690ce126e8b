package knock

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"amesh/identity"
	"amesh/internal/content"
	"amesh/internal/strictjson"
)

// ErrPolicy reports a policy that cannot be read. Nobody is let in by a policy
// that was not understood.
var ErrPolicy = errors.New("policy_invalid")

// MaxPolicySize is the longest policy file, in bytes.
const MaxPolicySize = 1 << 20

// Strangers is what happens to those whom no other rule names.
type Strangers string

// The three ways with strangers. Without a word from the owner it is ask.
const (
	StrangersAsk    Strangers = "ask"
	StrangersAccept Strangers = "accept"
	StrangersReject Strangers = "reject"
)

// Policy is the owner's will about knocks. The zero value is not one: use
// DefaultPolicy or ParsePolicy.
type Policy struct {
	Strangers       Strangers
	Allow           []identity.AMID
	Block           []identity.AMID
	AcceptedIntents []string // patterns; empty: every intent
	RejectedIntents []string // patterns
	KnocksPerMinute int      // of one sender
	MinTier         Tier     // strangers who prove less are rejected

	Mode          content.Mode   // what our own knocks ask for; 0 is private
	AcceptModes   []content.Mode // what others may ask for; empty: every mode
	SessionLimits content.Limits // of every new session, whoever asks for it

	// Ignored names the SDKs' keys that stand in the file and that amesh keeps
	// but does not act on, in the file's order.
	Ignored []string

	foreign []strictjson.Member // the SDKs' keys as they stood
}

// DefaultPolicy asks the owner about every stranger.
func DefaultPolicy() Policy {
	return Policy{Strangers: StrangersAsk, KnocksPerMinute: DefaultLimits().PerSender, Mode: content.Private}
}

// LoadPolicy reads a policy file; a missing one is DefaultPolicy. It returns
// ErrPolicy for one that cannot be understood.
func LoadPolicy(path string) (Policy, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return DefaultPolicy(), nil
	}
	if err != nil {
		return Policy{}, fmt.Errorf("policy: %w", err)
	}
	p, err := ParsePolicy(raw)
	if err != nil {
		return Policy{}, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// ParsePolicy reads a policy in our words or in those of the two 0.2 SDKs
// (AgentMesh §6.6). An empty file is DefaultPolicy. A key that nobody knows is an
// error, because a misspelt block list would block nobody.
func ParsePolicy(raw []byte) (Policy, error) {
	if len(raw) > MaxPolicySize {
		return Policy{}, fmt.Errorf("%w: %d bytes, at most %d", ErrPolicy, len(raw), MaxPolicySize)
	}
	p := DefaultPolicy()
	if len(bytes.TrimSpace(raw)) == 0 {
		return p, nil
	}
	members, err := strictjson.Object(raw)
	if err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	for _, m := range members {
		if err := p.take(m); err != nil {
			return Policy{}, fmt.Errorf("%w: %w", ErrPolicy, err)
		}
	}
	if p.strict() {
		p.Strangers = StrangersReject
	}
	return p, nil
}

// take reads one member into p.
func (p *Policy) take(m strictjson.Member) error {
	key, ours := ourKeys[m.Name], true
	if key == "" {
		key, ours = sdkKeys[m.Name], false
	}
	if key == "" {
		return unknownKey(m.Name)
	}
	if !ours {
		p.foreign = append(p.foreign, m)
	}
	var err error
	switch key {
	case keyStrangers:
		err = p.takeStrangers(m.Value)
	case keyAllow:
		p.Allow, err = takePeers(p.Allow, m.Value)
	case keyBlock:
		p.Block, err = takePeers(p.Block, m.Value)
	case keyAccepted:
		p.AcceptedIntents, err = takePatterns(p.AcceptedIntents, m.Value)
	case keyRejected:
		p.RejectedIntents, err = takePatterns(p.RejectedIntents, m.Value)
	case keyRate:
		p.KnocksPerMinute, err = takeCount(m.Value)
	case keyMinTier:
		p.MinTier, err = takeTier(m.Value)
	case keyMode, keyModes, keyMessages, keyBytes, keyTTL:
		err = p.takeSession(key, m.Value)
	case keyRateLimit:
		err = p.takeRateLimit(m.Value)
	case keyStrict:
		_, err = takeBool(m.Value)
	case keyIgnored:
		p.Ignored = append(p.Ignored, m.Name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m.Name, err)
	}
	return nil
}

// The meanings that keys have for us.
const (
	keyStrangers = "strangers"
	keyAllow     = "allow"
	keyBlock     = "block"
	keyAccepted  = "accepted_intents"
	keyRejected  = "rejected_intents"
	keyRate      = "knocks_per_minute"
	keyMinTier   = "min_tier"
	keyMode      = "mode"
	keyModes     = "accept_modes"
	keyMessages  = "session_messages"
	keyBytes     = "session_bytes"
	keyTTL       = "session_ttl"
	keyStrict    = "strict_mode"
	keyRateLimit = "rate_limit"
	keyIgnored   = "(ignored)"
)

// ourKeys are the keys that we write. The two intent lists are spelt the same in
// the Python SDK.
var ourKeys = map[string]string{
	"strangers":         keyStrangers,
	"allow":             keyAllow,
	"block":             keyBlock,
	"accepted_intents":  keyAccepted,
	"rejected_intents":  keyRejected,
	"knocks_per_minute": keyRate,
	"min_tier":          keyMinTier,
	"mode":              keyMode,
	"accept_modes":      keyModes,
	"session_messages":  keyMessages,
	"session_bytes":     keyBytes,
	"session_ttl":       keyTTL,
}

// sdkKeys are the keys of the Python and JavaScript SDKs. Those that restrict
// whom we know how to restrict are obeyed; their tiers and reputation are claims of the
// knocker on that wire and say nothing, while our min_tier asks for proof. autoAccept is ignored on purpose: only
// our own key opens the door to strangers.
var sdkKeys = map[string]string{
	"allowlist":                keyAllow,
	"blocklist":                keyBlock,
	"strict_mode":              keyStrict,
	"rate_limit":               keyRateLimit,
	"allowedAmids":             keyAllow,
	"blockedAmids":             keyBlock,
	"allowedIntents":           keyAccepted,
	"acceptedIntents":          keyAccepted,
	"blockedIntents":           keyRejected,
	"rejectedIntents":          keyRejected,
	"accept_tiers":             keyIgnored,
	"min_reputation":           keyIgnored,
	"max_concurrent_sessions":  keyIgnored,
	"store_transcripts":        keyIgnored,
	"auto_reject_when_offline": keyIgnored,
	"notify_owner":             keyIgnored,
	"minTier":                  keyIgnored,
	"minReputation":            keyIgnored,
	"autoAccept":               keyIgnored,
	"maxSessionTtl":            keyIgnored,
	"maxConcurrentSessions":    keyIgnored,
}

// strict reports whether the file has the Python SDK's strict_mode switched on.
func (p *Policy) strict() bool {
	for _, m := range p.foreign {
		if sdkKeys[m.Name] == keyStrict {
			on, err := takeBool(m.Value)
			return err != nil || on
		}
	}
	return false
}

func (p *Policy) takeStrangers(v json.RawMessage) error {
	var s string
	if err := decode(v, &s); err != nil {
		return err
	}
	return p.setStrangers(s)
}

func (p *Policy) setStrangers(s string) error {
	switch Strangers(s) {
	case StrangersAsk, StrangersAccept, StrangersReject:
		p.Strangers = Strangers(s)
		return nil
	}
	return fmt.Errorf("%q is not ask, accept or reject", s)
}

func takePeers(have []identity.AMID, v json.RawMessage) ([]identity.AMID, error) {
	var list []string
	if err := decode(v, &list); err != nil {
		return nil, err
	}
	return addPeers(have, list)
}

func addPeers(have []identity.AMID, list []string) ([]identity.AMID, error) {
	for _, s := range list {
		a, err := identity.ParseAMID(s)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(have, a) {
			have = append(have, a)
		}
	}
	return have, nil
}

func takePatterns(have []string, v json.RawMessage) ([]string, error) {
	var list []string
	if err := decode(v, &list); err != nil {
		return nil, err
	}
	return addPatterns(have, list)
}

func addPatterns(have, list []string) ([]string, error) {
	for _, s := range list {
		if err := checkPattern(s); err != nil {
			return nil, err
		}
		if !slices.Contains(have, s) {
			have = append(have, s)
		}
	}
	return have, nil
}

// checkPattern accepts an intent, an intent followed by "/*", or "*".
func checkPattern(s string) error {
	if s == "*" {
		return nil
	}
	if err := content.CheckIntent(strings.TrimSuffix(s, "/*")); err != nil {
		return fmt.Errorf("pattern %q is no intent, optionally with /* behind it, and not *", s)
	}
	return nil
}

// matches: a pattern covers its own intent and everything below it; with "/*"
// only what is below.
func matches(pattern, intent string) bool {
	if pattern == "*" {
		return true
	}
	if stem, ok := strings.CutSuffix(pattern, "/*"); ok {
		return strings.HasPrefix(intent, stem+"/")
	}
	return intent == pattern || strings.HasPrefix(intent, pattern+"/")
}

func takeCount(v json.RawMessage) (int, error) {
	var n int
	if err := decode(v, &n); err != nil {
		return 0, err
	}
	if n < 0 {
		return 0, fmt.Errorf("%d is negative", n)
	}
	return n, nil
}

func takeTier(v json.RawMessage) (Tier, error) {
	var s string
	if err := decode(v, &s); err != nil {
		return Anonymous, err
	}
	if s == "" {
		return Anonymous, errors.New("no tier: anonymous, verified or organization")
	}
	return parseTier(s)
}

func takeBool(v json.RawMessage) (bool, error) {
	var b bool
	err := decode(v, &b)
	return b, err
}

// takeRateLimit reads the Python SDK's rate_limit, whose other members limit
// messages.
func (p *Policy) takeRateLimit(v json.RawMessage) error {
	members, err := strictjson.Object(v)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Name != keyRate {
			p.Ignored = append(p.Ignored, keyRateLimit+"."+m.Name)
			continue
		}
		if p.KnocksPerMinute, err = takeCount(m.Value); err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	return nil
}

// decode refuses null, which encoding/json would take as "leave it as it is":
// "block": null must not mean that nobody is blocked.
func decode(v json.RawMessage, into any) error {
	if string(bytes.TrimSpace(v)) == "null" {
		return errors.New("null says nothing")
	}
	return json.Unmarshal(v, into)
}

// Set returns the policy with one of our keys changed, for `amesh policy set`.
// Lists are separated by commas; the empty value empties them. What the SDKs'
// keys say on the same matter changes with it. It returns ErrPolicy and leaves p
// as it is.
func (p Policy) Set(key, value string) (Policy, error) {
	next, err := p.set(key, value)
	if err != nil {
		return p, fmt.Errorf("%w: %s: %w", ErrPolicy, key, err)
	}
	return next, nil
}

func (p Policy) set(key, value string) (Policy, error) {
	var err error
	switch key {
	case keyStrangers:
		err = p.setStrangers(value)
	case keyAllow:
		p.Allow, err = addPeers(nil, splitList(value))
	case keyBlock:
		p.Block, err = addPeers(nil, splitList(value))
	case keyAccepted:
		p.AcceptedIntents, err = addPatterns(nil, splitList(value))
	case keyRejected:
		p.RejectedIntents, err = addPatterns(nil, splitList(value))
	case keyRate:
		p.KnocksPerMinute, err = strconv.Atoi(value)
		if err != nil || p.KnocksPerMinute < 0 {
			err = fmt.Errorf("%q is not a number of knocks", value)
		}
	case keyMinTier:
		p.MinTier, err = parseTier(value)
	case keyMode, keyModes, keyMessages, keyBytes, keyTTL:
		err = p.setSession(key, value)
	default:
		err = unknownKey(key)
	}
	return p, err
}

func splitList(s string) []string {
	var list []string
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// Version names the policy's content: grants carry it, and it changes exactly
// when a rule does.
func (p Policy) Version() string {
	p.foreign, p.Ignored = nil, nil
	raw, err := p.Encode()
	if err != nil {
		panic("knock: policy without SDK keys does not encode: " + err.Error())
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

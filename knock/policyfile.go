package knock

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"amesh/identity"
	"amesh/internal/strictjson"
)

// Encode writes the policy as a file: our keys first, always all of them, then
// the SDKs' keys that were there. Where an SDK's key says the same as one of
// ours it is brought up to date, so that an SDK that shares the file blocks whom
// we block.
func (p Policy) Encode() ([]byte, error) {
	var members []strictjson.Member
	for _, key := range []string{
		keyStrangers, keyAllow, keyBlock, keyAccepted, keyRejected, keyRate, keyMinTier, keyMode, keyModes, keyMessages, keyBytes, keyTTL,
	} {
		if key == keyMinTier && p.MinTier == Anonymous {
			continue // as in files of before, which keeps their version
		}
		v, err := json.Marshal(p.value(key))
		if err != nil {
			return nil, fmt.Errorf("policy: %s: %w", key, err)
		}
		members = append(members, strictjson.Member{Name: key, Value: v})
	}
	for _, m := range p.foreign {
		v, err := p.foreignValue(m)
		if err != nil {
			return nil, fmt.Errorf("policy: %s: %w", m.Name, err)
		}
		members = append(members, strictjson.Member{Name: m.Name, Value: v})
	}
	raw, err := writeObject(members)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func (p Policy) value(key string) any {
	switch key {
	case keyStrangers:
		return p.Strangers
	case keyAllow:
		return append([]identity.AMID{}, p.Allow...)
	case keyBlock:
		return append([]identity.AMID{}, p.Block...)
	case keyAccepted:
		return append([]string{}, p.AcceptedIntents...)
	case keyRejected:
		return append([]string{}, p.RejectedIntents...)
	case keyStrict:
		return p.Strangers == StrangersReject
	case keyMinTier:
		return p.MinTier.String()
	case keyMode:
		return p.AskMode().String()
	case keyModes:
		return modeNames(p.AcceptModes)
	case keyMessages:
		return p.SessionLimits.Messages
	case keyBytes:
		return p.SessionLimits.Bytes
	case keyTTL:
		return p.SessionLimits.Seconds
	}
	return p.KnocksPerMinute
}

func (p Policy) foreignValue(m strictjson.Member) (json.RawMessage, error) {
	switch meaning := sdkKeys[m.Name]; meaning {
	case keyIgnored:
		return m.Value, nil
	case keyRateLimit:
		return p.rateLimit(m.Value)
	default:
		return json.Marshal(p.value(meaning))
	}
}

func (p Policy) rateLimit(old json.RawMessage) (json.RawMessage, error) {
	members, err := strictjson.Object(old)
	if err != nil {
		return nil, err
	}
	for i, m := range members {
		if m.Name == keyRate {
			if members[i].Value, err = json.Marshal(p.KnocksPerMinute); err != nil {
				return nil, err
			}
		}
	}
	return writeObject(members)
}

func writeObject(members []strictjson.Member) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range members {
		name, err := json.Marshal(m.Name)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(m.Value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Show is the policy for a person, one rule a line.
func (p Policy) Show() string {
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%-18s %s\n", key, value) }
	line(keyStrangers, string(p.Strangers))
	line(keyAllow, orNone(amids(p.Allow), "nobody"))
	line(keyBlock, orNone(amids(p.Block), "nobody"))
	line(keyAccepted, orNone(p.AcceptedIntents, "every intent"))
	line(keyRejected, orNone(p.RejectedIntents, "none"))
	line(keyRate, fmt.Sprint(p.KnocksPerMinute))
	line(keyMinTier, p.MinTier.String())
	line(keyMode, p.AskMode().String())
	line(keyModes, orNone(modeNames(p.AcceptModes), "every mode"))
	for _, key := range []string{keyMessages, keyBytes, keyTTL} {
		line(key, orNoLimit(p.value(key)))
	}
	if len(p.Ignored) > 0 {
		line("(kept, not used)", strings.Join(p.Ignored, ", "))
	}
	return b.String()
}

func amids(list []identity.AMID) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}

func orNone(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return strings.Join(list, ", ")
}

func orNoLimit(v any) string {
	if s := fmt.Sprint(v); s != "0" {
		return s
	}
	return "no limit"
}

// unknownKey names the key that was probably meant.
func unknownKey(name string) error {
	best, least := "", len(name)/2+2
	for _, known := range slices.Sorted(maps.Keys(ourKeys)) {
		if d := distance(name, known); d < least {
			best, least = known, d
		}
	}
	if best == "" {
		return fmt.Errorf("unknown key %q (known: %s)", name, strings.Join(slices.Sorted(maps.Keys(ourKeys)), ", "))
	}
	return fmt.Errorf("unknown key %q, did you mean %q?", name, best)
}

// distance is Levenshtein's: how many letters must change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

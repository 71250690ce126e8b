package certificate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"amesh/identity"
	"amesh/internal/strictjson"
)

// Revoked is one line of a revocation list.
type Revoked struct {
	Serial Serial
	At     time.Time
	Reason string // one of the reasons of POST /v1/registry/revoke
}

// List is a revocation list: what was taken back and has not expired by itself.
type List struct {
	Number     uint64 // grows with every list of this root
	ThisUpdate time.Time
	NextUpdate time.Time
	IssuerKey  identity.PublicKey

	revoked map[Serial]Revoked
}

type listDocument struct {
	Issuer     string            `json:"issuer"`
	IssuerKey  string            `json:"issuer_key"`
	NextUpdate string            `json:"next_update"`
	Number     uint64            `json:"number"`
	Revoked    []revokedDocument `json:"revoked"`
	ThisUpdate string            `json:"this_update"`
	Type       string            `json:"type"`
	Version    int               `json:"version"`
}

type revokedDocument struct {
	Reason       string `json:"reason"`
	RevokedAt    string `json:"revoked_at"`
	SerialNumber string `json:"serial_number"`
}

const typeList = "certificate_revocation_list"

// IssueList signs a revocation list as of now. Number must be higher than that of
// every list before.
func (i *Issuer) IssueList(number uint64, revoked []Revoked) ([]byte, error) {
	now := i.now().UTC().Truncate(time.Second)
	d := listDocument{Issuer: registryName, IssuerKey: i.Root().Text(), Number: number, Type: typeList, Version: 1,
		ThisUpdate: formatTime(now), NextUpdate: formatTime(now.Add(NextUpdate)), Revoked: []revokedDocument{}}
	for _, r := range revoked {
		d.Revoked = append(d.Revoked, revokedDocument{Reason: r.Reason, RevokedAt: formatTime(r.At), SerialNumber: r.Serial.String()})
	}
	raw, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	if len(raw)+sealSize > MaxList {
		return nil, fmt.Errorf("revocation list of %d bytes, at most %d", len(raw), MaxList)
	}
	return seal(i.root, tagList, raw), nil
}

// ParseList reads a revocation list and verifies its signature under the key that it
// names; whether to believe that key is for Trust. A line break behind it, as servers
// put there, is no part of it. It returns ErrUntrusted.
func ParseList(raw []byte) (*List, error) {
	raw = bytes.TrimSuffix(raw, []byte("\n"))
	if len(raw) > MaxList {
		return nil, fmt.Errorf("%w: revocation list of %d bytes, at most %d", ErrUntrusted, len(raw), MaxList)
	}
	body, signature, err := unseal(raw)
	if err != nil {
		return nil, fmt.Errorf("revocation list: %w", err)
	}
	members, err := strictjson.Object(body)
	if err != nil {
		return nil, fmt.Errorf("%w: revocation list: %w", ErrUntrusted, err)
	}
	for _, m := range members {
		if m.Name != strings.ToLower(m.Name) {
			return nil, fmt.Errorf("%w: member %.40q", ErrUntrusted, m.Name)
		}
	}
	var d listDocument
	if err := json.Unmarshal(body, &d); err != nil {
		return nil, fmt.Errorf("%w: revocation list: %v", ErrUntrusted, err)
	}
	list, err := d.list()
	if err != nil {
		return nil, err
	}
	if err := list.IssuerKey.Verify(tagList, body, signature); err != nil {
		return nil, fmt.Errorf("%w: revocation list: %w", ErrUntrusted, err)
	}
	return list, nil
}

func (d *listDocument) list() (l *List, err error) {
	if d.Type != typeList || d.Version != 1 || d.Revoked == nil {
		return nil, fmt.Errorf("%w: no revocation list of version 1", ErrUntrusted)
	}
	l = &List{Number: d.Number, revoked: make(map[Serial]Revoked, len(d.Revoked))}
	if l.IssuerKey, err = parseKey(d.IssuerKey); err != nil {
		return nil, err
	}
	if l.ThisUpdate, err = parseTime(d.ThisUpdate); err != nil {
		return nil, err
	}
	if l.NextUpdate, err = parseTime(d.NextUpdate); err != nil {
		return nil, err
	}
	for _, r := range d.Revoked {
		line := Revoked{Reason: r.Reason}
		if line.Serial, err = ParseSerial(r.SerialNumber); err != nil {
			return nil, err
		}
		if line.At, err = parseTime(r.RevokedAt); err != nil {
			return nil, err
		}
		l.revoked[line.Serial] = line
	}
	return l, nil
}

// Revoked is the line about a certificate, if there is one.
func (l *List) Revoked(s Serial) (Revoked, bool) {
	r, ok := l.revoked[s]
	return r, ok
}

// Len is the number of lines.
func (l *List) Len() int { return len(l.revoked) }

// allows judges a chain by the list, which is nil where there is none. What is
// revoked stays so, however old the list.
func (l *List) allows(c *Chain, now time.Time) error {
	if l == nil {
		return fmt.Errorf("%w: none was fetched yet", ErrStale)
	}
	for _, link := range c.links() {
		if r, ok := l.revoked[link.Serial]; ok {
			return fmt.Errorf("%w: %s at %s, %.40q", ErrRevoked, link.Serial, formatTime(r.At), r.Reason)
		}
	}
	if age := now.Sub(l.ThisUpdate); age > Stale || age < -Skew {
		return fmt.Errorf("%w: of %s", ErrStale, formatTime(l.ThisUpdate))
	}
	return nil
}

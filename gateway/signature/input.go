package signature

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"amesh/gateway/amtp"
	"amesh/internal/ijson"
)

// ErrNotSignable reports a message that cannot be signed.
var ErrNotSignable = errors.New("not a message to sign")

// required are the members that a signed message says itself: the receiver must
// not make them up.
var required = []string{"version", "message_id", "idempotency_key", "timestamp", "sender"}

// parts is a message taken apart.
type parts struct {
	signature []byte // as it stands in the body; nil if absent or null
	rest      []byte // the body without it and without the last brace
	sender    string
	complaint string // why nobody may sign this body; empty if one may
}

// take takes a body apart: signature, and all other members, whatever they are called.
func take(body []byte) (*parts, error) {
	members, err := ijson.Object(body, amtp.MaxDepth)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNotSignable, err)
	}
	p := &parts{rest: append(make([]byte, 0, len(body)), '{')}
	texts := make(map[string]string)
	recipients := -1
	for _, m := range members {
		if m.Name == "signature" {
			if string(m.Value) != "null" {
				p.signature = m.Value
			}
			continue
		}
		if m.Name == "recipients" {
			all, _ := ijson.Array(m.Value, amtp.MaxDepth)
			recipients = len(all)
		}
		texts[m.Name], _ = ijson.String(m.Value)
		p.append(m.Name, m.Value)
	}
	p.sender = texts["sender"]
	p.complaint = complaint(texts, recipients)
	return p, nil
}

// digest is over what is signed: the one form (RFC 8785) of all members but signature.
func (p *parts) digest() ([sha256.Size]byte, error) {
	text, err := canonical(append(p.rest[:len(p.rest):len(p.rest)], '}'))
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("%w: %v", ErrNotSignable, err)
	}
	return sha256.Sum256(text), nil
}

func (p *parts) append(name string, value []byte) {
	if len(p.rest) > 1 {
		p.rest = append(p.rest, ',')
	}
	quoted, _ := json.Marshal(name) // a string always can be
	p.rest = append(append(p.rest, quoted...), ':')
	p.rest = append(p.rest, value...)
}

func complaint(texts map[string]string, recipients int) string {
	for _, name := range required {
		if texts[name] == "" {
			return name + " is missing"
		}
	}
	if recipients != 1 {
		return "a signed message has one recipient"
	}
	return ""
}

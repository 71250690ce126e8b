package identity

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"amesh/internal/wire"
)

// What an agent card may hold.
const (
	MaxCardSize     = 16 << 10           // bytes, signature included
	MaxCapabilities = 64                 // of one card
	CardLife        = 7 * 24 * time.Hour // from Issued to Expires
)

// The longest texts of a card in bytes, and the longest lists.
const (
	MaxCardName        = 64
	MaxCardDescription = 1024
	maxCapabilityID    = 128
	maxCapabilityParts = 8 // between slashes
	maxCategory        = 64
	maxActions         = 16
	maxAction          = 64
	maxCapabilityText  = 512
	maxAmount          = 32
	maxCurrency        = 12
	maxUnit            = 32
	maxAvailability    = 64
	maxSchemas         = 8
	maxSchema          = 255
)

const cardVersion = 1

// ErrCardExpired reports an agent card outside its times.
var ErrCardExpired = errors.New("card_expired")

// Card is what an agent says that it can do, for those who search (cards.md). It is
// the agent's own word: that it is true, or good, nobody vouches for.
type Card struct {
	Agent        AMID
	SigningKey   PublicKey
	Sequence     uint64
	Issued       time.Time
	Expires      time.Time
	Name         string // at most 64 bytes; may be empty
	Description  string // at most 1,024 bytes; may be empty
	Capabilities []Capability

	raw []byte
}

// Capability is one thing that an agent can do. Only ID and Category must be there.
type Capability struct {
	ID           string   `json:"id"` // such as travel/flight-search
	Category     string   `json:"category"`
	Subcategory  string   `json:"subcategory,omitempty"`
	Actions      []string `json:"actions,omitempty"`
	Description  string   `json:"description,omitempty"` // at most 512 bytes
	Pricing      Pricing  `json:"pricing,omitzero"`
	ResponseTime uint32   `json:"response_time_s,omitempty"` // seconds; 0 is unsaid
	Availability string   `json:"availability,omitempty"`    // for people, such as "24/7"
	Schemas      []string `json:"schemas,omitempty"`         // URIs of what it takes and gives
}

// Pricing is what a capability costs; the zero value is unsaid. The amount is a
// decimal number as text, because no price is a binary fraction.
type Pricing struct {
	Amount   string `json:"amount"`         // such as "0.05"
	Currency string `json:"currency"`       // such as "EUR"
	Unit     string `json:"unit,omitempty"` // such as "search"; empty is each call
}

// Raw is the signed bytes that ParseCard read; they are not to be changed.
func (c *Card) Raw() []byte { return c.raw }

// SignCard returns the signed bytes of c. Agent and SigningKey are taken from key. It
// refuses what ParseCard would refuse.
func SignCard(key PrivateKey, c Card) ([]byte, error) {
	c.SigningKey, c.Agent = key.Public(), key.AMID()
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("sign card: %w", err)
	}
	w := wire.NewWriter(1024)
	w.U8(cardVersion)
	w.Fixed(c.Agent[:])
	w.Fixed(c.SigningKey[:])
	w.U64(c.Sequence)
	writeTime(w, c.Issued)
	writeTime(w, c.Expires)
	w.LP8([]byte(c.Name))
	w.LP16([]byte(c.Description))
	w.U8(uint8(len(c.Capabilities)))
	for i := range c.Capabilities {
		c.Capabilities[i].write(w)
	}
	w.Fixed(key.Sign(TagAgentCard, w.Bytes()))
	if n := len(w.Bytes()); n > MaxCardSize {
		return nil, fmt.Errorf("sign card: %w: %d bytes, at most %d", wire.ErrMalformed, n, MaxCardSize)
	}
	return w.Bytes(), nil
}

func (c *Capability) write(w *wire.Writer) {
	w.LP8([]byte(c.ID))
	w.LP8([]byte(c.Category))
	w.LP8([]byte(c.Subcategory))
	w.List(c.Actions)
	w.LP16([]byte(c.Description))
	w.LP8([]byte(c.Pricing.Amount))
	w.LP8([]byte(c.Pricing.Currency))
	w.LP8([]byte(c.Pricing.Unit))
	w.U32(c.ResponseTime)
	w.LP8([]byte(c.Availability))
	w.List(c.Schemas)
}

// ParseCard reads a card and verifies everything in it but the time. It returns
// wire.ErrMalformed, ErrKey, ErrMismatch or ErrSignature, and keeps a copy of raw.
func ParseCard(raw []byte) (*Card, error) {
	if len(raw) > MaxCardSize {
		return nil, fmt.Errorf("card: %w: %d bytes, at most %d", wire.ErrMalformed, len(raw), MaxCardSize)
	}
	c, err := readCard(bytes.Clone(raw))
	if err != nil {
		return nil, fmt.Errorf("card: %w", err)
	}
	if err := checkOwner(c.SigningKey, c.Agent); err != nil {
		return nil, fmt.Errorf("card: %w", err)
	}
	body, sig := split(c.raw)
	if err := c.SigningKey.Verify(TagAgentCard, body, sig); err != nil {
		return nil, fmt.Errorf("card: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("card: %w", err)
	}
	return c, nil
}

func readCard(raw []byte) (*Card, error) {
	c := &Card{raw: raw}
	r := wire.NewReader(raw)
	if v := r.U8(); v != cardVersion {
		r.Fail("version %d", v)
	}
	r.Into(c.Agent[:])
	r.Into(c.SigningKey[:])
	c.Sequence = r.U64()
	c.Issued = readTime(r)
	c.Expires = readTime(r)
	c.Name = string(r.LP8(MaxCardName))
	c.Description = string(r.LP16(MaxCardDescription))
	n := int(r.U8())
	if n > MaxCapabilities {
		r.Fail("%d capabilities, at most %d", n, MaxCapabilities)
	}
	for range n {
		if r.Err() != nil {
			break
		}
		c.Capabilities = append(c.Capabilities, readCapability(r))
	}
	r.Fixed(SignatureSize)
	return c, r.Done()
}

func readCapability(r *wire.Reader) Capability {
	return Capability{
		ID:           string(r.LP8(maxCapabilityID)),
		Category:     string(r.LP8(maxCategory)),
		Subcategory:  string(r.LP8(maxCategory)),
		Actions:      r.List(maxActions, maxAction),
		Description:  string(r.LP16(maxCapabilityText)),
		Pricing:      Pricing{string(r.LP8(maxAmount)), string(r.LP8(maxCurrency)), string(r.LP8(maxUnit))},
		ResponseTime: r.U32(),
		Availability: string(r.LP8(maxAvailability)),
		Schemas:      r.List(maxSchemas, maxSchema),
	}
}

// Valid says whether the card holds at the time now. It returns ErrCardExpired.
func (c *Card) Valid(now time.Time) error {
	if err := checkNow(now, c.Issued, c.Expires); err != nil {
		return fmt.Errorf("card: %w: %w", ErrCardExpired, err)
	}
	return nil
}

package identity

import (
	"fmt"
	"strings"

	"amesh/internal/wire"
)

// check holds the rules that are the same for the one who signs and the one who
// reads.
func (c *Card) check() error {
	if err := checkLife(c.Issued, c.Expires, CardLife); err != nil {
		return err
	}
	if err := checkText("name", c.Name, MaxCardName); err != nil {
		return err
	}
	if err := checkText("description", c.Description, MaxCardDescription); err != nil {
		return err
	}
	if len(c.Capabilities) > MaxCapabilities {
		return fmt.Errorf("%w: %d capabilities, at most %d", wire.ErrMalformed, len(c.Capabilities), MaxCapabilities)
	}
	seen := make(map[string]bool)
	for i := range c.Capabilities {
		one := &c.Capabilities[i]
		if err := one.Check(); err != nil {
			return err
		}
		if seen[one.ID] {
			return fmt.Errorf("%w: capability %s twice", wire.ErrMalformed, one.ID)
		}
		seen[one.ID] = true
	}
	return nil
}

// Check holds one capability against the rules of cards.md §3. It returns
// wire.ErrMalformed with the field that is wrong.
func (c *Capability) Check() error {
	if err := CheckCapabilityID(c.ID); err != nil {
		return err
	}
	if !wordOK(c.Category, maxCategory) {
		return c.bad("category", c.Category)
	}
	if c.Subcategory != "" && !wordOK(c.Subcategory, maxCategory) {
		return c.bad("subcategory", c.Subcategory)
	}
	if err := checkList("action", c.Actions, maxActions, maxAction); err != nil {
		return fmt.Errorf("capability %s: %w", c.ID, err)
	}
	if err := checkText("description", c.Description, maxCapabilityText); err != nil {
		return fmt.Errorf("capability %s: %w", c.ID, err)
	}
	if err := c.Pricing.check(); err != nil {
		return fmt.Errorf("capability %s: %w", c.ID, err)
	}
	if err := checkText("availability", c.Availability, maxAvailability); err != nil {
		return fmt.Errorf("capability %s: %w", c.ID, err)
	}
	if err := checkList("schema", c.Schemas, maxSchemas, maxSchema); err != nil {
		return fmt.Errorf("capability %s: %w", c.ID, err)
	}
	return nil
}

func (c *Capability) bad(field, text string) error {
	return fmt.Errorf("capability %s: %w: %s %.40q: want lower-case letters, digits, '.', '_' and '-', at most %d",
		c.ID, wire.ErrMalformed, field, text, maxCategory)
}

// Under reports whether the capability is the one named, or lies below it:
// travel/flight-search is under travel, but not under trav.
func (c *Capability) Under(id string) bool {
	rest, ok := strings.CutPrefix(c.ID, id)
	return ok && (rest == "" || rest[0] == '/')
}

// CheckCapabilityID accepts the id of a capability, or the beginning of one up to a
// slash: words of lower-case letters, digits, '.', '_' and '-', between slashes. It
// returns wire.ErrMalformed.
func CheckCapabilityID(id string) error {
	words := strings.Split(id, "/")
	ok := len(id) <= maxCapabilityID && len(words) <= maxCapabilityParts
	for _, w := range words {
		ok = ok && wordOK(w, maxCapabilityID)
	}
	if !ok {
		return fmt.Errorf("%w: capability id %.40q: want lower-case words between slashes, such as travel/flight-search", wire.ErrMalformed, id)
	}
	return nil
}

// CheckCategory accepts what may stand as a capability's category. It returns
// wire.ErrMalformed.
func CheckCategory(text string) error {
	if !wordOK(text, maxCategory) {
		return fmt.Errorf("%w: category %.40q: want one lower-case word, such as travel", wire.ErrMalformed, text)
	}
	return nil
}

// wordOK takes words that have one spelling, because they are hashed and compared:
// a letter or digit first, then letters, digits, dots, underscores and dashes.
func wordOK(s string, size int) bool {
	if s == "" || len(s) > size || strings.IndexByte("._-", s[0]) >= 0 {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

func (p Pricing) check() error {
	if p == (Pricing{}) {
		return nil
	}
	if !amountOK(p.Amount) {
		return fmt.Errorf("%w: amount %.40q: want a decimal number, such as 0.05", wire.ErrMalformed, p.Amount)
	}
	if p.Currency == "" || len(p.Currency) > maxCurrency || strings.Trim(p.Currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
		return fmt.Errorf("%w: currency %.40q: want a code, such as EUR", wire.ErrMalformed, p.Currency)
	}
	return checkText("unit", p.Unit, maxUnit)
}

// amountOK takes digits with at most one point among them, and no zeros in front.
func amountOK(s string) bool {
	whole, part, point := strings.Cut(s, ".")
	digits := func(d string) bool { return d != "" && strings.Trim(d, "0123456789") == "" }
	if len(s) > maxAmount || !digits(whole) || (point && !digits(part)) {
		return false
	}
	return whole == "0" || whole[0] != '0'
}

func checkText(what, s string, size int) error {
	if len(s) > size || !textOK([]byte(s)) {
		return fmt.Errorf("%w: %s %.40q: want text of at most %d bytes", wire.ErrMalformed, what, s, size)
	}
	return nil
}

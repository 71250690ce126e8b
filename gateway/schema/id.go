package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Scheme begins every AGNTCY identifier.
const Scheme = "agntcy:"

// ErrID reports text that is no AGNTCY identifier.
var ErrID = errors.New("invalid AGNTCY schema format")

// ID names a schema: agntcy:domain.entity.vN. The zero ID names none.
type ID struct {
	Domain, Entity string
	Version        int
}

// ParseID reads the one form of an identifier: two labels of letters, digits,
// underscore and hyphen, at most MaxLabel long, and a version without leading
// zeros. It returns ErrID for everything else.
func ParseID(s string) (ID, error) {
	rest, ok := strings.CutPrefix(s, Scheme)
	labels := strings.Split(rest, ".")
	if !ok || len(labels) != 3 || !label(labels[0]) || !label(labels[1]) {
		return ID{}, fmt.Errorf("%w: %s (expected: agntcy:domain.entity.version)", ErrID, clip(s))
	}
	version, err := parseVersion(labels[2])
	if err != nil {
		return ID{}, fmt.Errorf("%w: %s (%w)", ErrID, clip(s), err)
	}
	return ID{Domain: labels[0], Entity: labels[1], Version: version}, nil
}

func parseVersion(s string) (int, error) {
	digits, ok := strings.CutPrefix(s, "v")
	if !ok || digits == "" || len(digits) > maxVersionDigits || strings.Trim(digits, "0123456789") != "" {
		return 0, fmt.Errorf("the version is v and at most %d digits", maxVersionDigits)
	}
	// v1 and v01 would be two names for what everybody takes for one version.
	if digits[0] == '0' && digits != "0" {
		return 0, errors.New("the version has no leading zeros")
	}
	return strconv.Atoi(digits)
}

func label(s string) bool {
	if s == "" || len(s) > MaxLabel {
		return false
	}
	for i := range len(s) {
		if !labelByte(s[i]) {
			return false
		}
	}
	return true
}

func labelByte(c byte) bool {
	return c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// clip keeps an error about a stranger's text short.
func clip(s string) string {
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

// VersionText is the version as it stands in the identifier.
func (id ID) VersionText() string { return "v" + strconv.Itoa(id.Version) }

// Family is what all versions of a schema share: domain.entity.
func (id ID) Family() string { return id.Domain + "." + id.Entity }

// String returns the identifier as it travels.
func (id ID) String() string { return Scheme + id.Family() + "." + id.VersionText() }

// Compare orders identifiers by domain, entity and version number.
func (id ID) Compare(other ID) int {
	if c := strings.Compare(id.Domain, other.Domain); c != 0 {
		return c
	}
	if c := strings.Compare(id.Entity, other.Entity); c != 0 {
		return c
	}
	return id.Version - other.Version
}

type idJSON struct {
	Domain  string `json:"domain"`
	Entity  string `json:"entity"`
	Version string `json:"version"`
	Raw     string `json:"raw"`
}

// MarshalJSON writes the parts and the whole, as clients of agentry read them.
func (id ID) MarshalJSON() ([]byte, error) {
	return json.Marshal(idJSON{Domain: id.Domain, Entity: id.Entity, Version: id.VersionText(), Raw: id.String()})
}

// UnmarshalJSON reads the identifier as a text or as the object of its parts.
func (id *ID) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) != nil {
		var parts idJSON
		if err := json.Unmarshal(b, &parts); err != nil {
			return fmt.Errorf("%w: neither a text nor an object", ErrID)
		}
		text = Scheme + parts.Domain + "." + parts.Entity + "." + parts.Version
		if parts.Raw != "" && parts.Raw != text {
			return fmt.Errorf("%w: %s is not %s", ErrID, clip(parts.Raw), clip(text))
		}
	}
	parsed, err := ParseID(text)
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

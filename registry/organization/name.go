package organization

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Name is what an organisation calls itself.
type Name struct {
	Text string
	// Key is equal for names that differ in case and spaces at most.
	Key string
	// Skeleton is equal for names that look the same.
	Skeleton string
}

// punctuation is what may stand in a name beside letters, digits and single spaces.
const punctuation = "-.,&'()+/!:·’"

// ParseName checks a name: 1 to MaxName bytes of text in one writing system. It
// returns ErrName or ErrConfusable.
func ParseName(text string) (Name, error) {
	if text == "" || len(text) > MaxName || !utf8.ValidString(text) {
		return Name{}, fmt.Errorf("%w: want 1 to %d bytes of text", ErrName, MaxName)
	}
	if strings.Join(strings.Fields(text), " ") != text {
		return Name{}, fmt.Errorf("%w: want single spaces, and none at the ends", ErrName)
	}
	letters := false
	for _, r := range text {
		switch {
		case unicode.IsLetter(r) && script(r) == nil:
			// Bold, double-struck, squared and the like: letters of no script.
			return Name{}, fmt.Errorf("%w: %U is a letter in disguise", ErrConfusable, r)
		case unicode.IsLetter(r):
			letters = true
		case unicode.Is(unicode.Nd, r), r == ' ', strings.ContainsRune(punctuation, r):
		case unicode.Is(unicode.M, r) && !composes(text):
		default:
			return Name{}, fmt.Errorf("%w: it has %U", ErrName, r)
		}
	}
	if !letters {
		return Name{}, fmt.Errorf("%w: it has no letters", ErrName)
	}
	if !oneScript(text) {
		return Name{}, fmt.Errorf("%w: it mixes scripts", ErrConfusable)
	}
	key := strings.ToLower(text)
	return Name{Text: text, Key: strings.ReplaceAll(key, " ", ""), Skeleton: bare(skeleton(text))}, nil
}

// composes says whether a text is in a script whose accented letters have code
// points of their own, so that a mark that stands alone is there to deceive.
func composes(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool {
		return unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic)
	})
}

// bare leaves out what one does not notice between words.
func bare(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || strings.ContainsRune(punctuation, r) {
			return -1
		}
		return r
	}, s)
}

package identity

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// ErrInviteText reports a text that is not an invite, or no longer the one that was
// made. Its message says what a person can do.
var ErrInviteText = errors.New("not an invite")

// The text of an invite is the bech32m form of its bytes (BIP 350, but for the length):
// letters and digits of one case, none of which looks like another, so that it can be
// marked with a double click, read out, wrapped, and put into a small QR code.
const (
	inviteMark     = "amesh1" // the human-readable part, and the separator
	inviteAlphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	checksumSize   = 6
	bech32mConst   = 0x2bc830a3
	maxInviteText  = len(inviteMark) + (MaxInviteSize*8+4)/5 + checksumSize
	// MaxInvitePaste is how long a text ReadInvite looks at, in bytes.
	MaxInvitePaste = 4 * maxInviteText
)

// InviteAround cuts out of a longer text what ReadInvite is to look at: from the first
// mark of an invite on. It returns nothing where there is no mark.
func InviteAround(text string) string {
	for at := range len(text) - len(inviteMark) + 1 {
		if strings.EqualFold(text[at:at+len(inviteMark)], inviteMark) {
			return strings.ToValidUTF8(text[at:min(len(text), at+MaxInvitePaste)], "")
		}
	}
	return ""
}

// InviteText writes the signed bytes of an invite as text. For a QR code it may be
// written in capitals.
func InviteText(raw []byte) string {
	values := toFives(raw)
	sum := polymod(append(expandMark(), append(values, make([]byte, checksumSize)...)...)) ^ bech32mConst
	var b strings.Builder
	b.WriteString(inviteMark)
	for _, v := range values {
		b.WriteByte(inviteAlphabet[v])
	}
	for i := range checksumSize {
		b.WriteByte(inviteAlphabet[sum>>(5*(checksumSize-1-i))&31])
	}
	return b.String()
}

// ReadInvite finds an invite in what somebody pasted and verifies it as ParseInvite does:
// in either case, with a command or a link around it, broken into lines. It returns
// ErrInviteText, or what ParseInvite returns for a text that came through whole.
func ReadInvite(text string) (*Invite, error) {
	raw, err := inviteBytes(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInviteText, err)
	}
	return ParseInvite(raw)
}

var (
	errNoInvite  = errors.New("an invite begins with amesh1")
	errCut       = errors.New("it is cut short: copy all of it")
	errTooLong   = errors.New("it is too long: copy the invite alone")
	errMistyped  = errors.New("a character is wrong, missing or too much: copy it again")
	errWholeOnly = errors.New("the last character is wrong: copy it again")
)

// inviteBytes reads the five-bit values behind the mark up to where the checksum holds, at
// the end of a word: what somebody copied along behind the invite has letters too.
func inviteBytes(text string) ([]byte, error) {
	if len(text) > MaxInvitePaste {
		return nil, errTooLong
	}
	_, rest, found := strings.Cut(strings.ToLower(text), inviteMark)
	if !found {
		return nil, errNoInvite
	}
	values, ends, strange := inviteValues(rest)
	for _, end := range ends {
		if end > checksumSize && polymod(append(expandMark(), values[:end]...)) == bech32mConst {
			return fromFives(values[:end-checksumSize])
		}
	}
	switch {
	case strange != nil:
		return nil, strange
	case len(values) <= checksumSize:
		return nil, errCut
	}
	return nil, errMistyped
}

// inviteValues are the five-bit values of a text, no more than an invite has, and behind
// how many of them the invite may end. Spaces, line breaks, the > of a quoted mail and
// characters without a width may stand between them; anything else ends them. The error
// names the letter or digit that did.
func inviteValues(text string) (values []byte, ends []int, err error) {
	for _, r := range text {
		i := strings.IndexRune(inviteAlphabet, r)
		switch {
		case i >= 0 && len(values) == maxInviteText-len(inviteMark):
			return values, ends, errTooLong
		case i >= 0:
			values = append(values, byte(i))
			continue
		case len(ends) == 0 || ends[len(ends)-1] != len(values):
			ends = append(ends, len(values))
		}
		switch {
		case unicode.IsSpace(r), unicode.Is(unicode.Cf, r), r == '>':
		case unicode.IsLetter(r), unicode.IsDigit(r):
			return values, ends, fmt.Errorf("the character %q, the %dth behind amesh1, occurs in no invite: copy it again", r, len(values)+1)
		default:
			return values, ends, nil
		}
	}
	return values, append(ends, len(values)), nil
}

func toFives(raw []byte) []byte {
	values := make([]byte, 0, (len(raw)*8+4)/5)
	acc, bits := 0, 0
	for _, b := range raw {
		acc, bits = (acc<<8|int(b))&0xFFF, bits+8
		for bits >= 5 {
			bits -= 5
			values = append(values, byte(acc>>bits&31))
		}
	}
	if bits > 0 {
		values = append(values, byte(acc<<(5-bits)&31))
	}
	return values
}

// fromFives refuses a last value that is not needed or holds more than zeros, so that
// there is one text of an invite.
func fromFives(values []byte) ([]byte, error) {
	raw := make([]byte, 0, len(values)*5/8)
	acc, bits := 0, 0
	for _, v := range values {
		acc, bits = (acc<<5|int(v))&0xFFF, bits+5
		if bits >= 8 {
			bits -= 8
			raw = append(raw, byte(acc>>bits))
		}
	}
	if bits >= 5 || acc&(1<<bits-1) != 0 {
		return nil, errWholeOnly
	}
	return raw, nil
}

// expandMark is the human-readable part as the checksum covers it.
func expandMark() []byte {
	name := strings.TrimSuffix(inviteMark, "1")
	var values []byte
	for _, c := range []byte(name) {
		values = append(values, c>>5)
	}
	values = append(values, 0)
	for _, c := range []byte(name) {
		values = append(values, c&31)
	}
	return values
}

// polymod is the checksum of BIP 173.
func polymod(values []byte) uint32 {
	sum := uint32(1)
	for _, v := range values {
		top := sum >> 25
		sum = sum&0x1ffffff<<5 ^ uint32(v)
		for i, g := range [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				sum ^= g
			}
		}
	}
	return sum
}

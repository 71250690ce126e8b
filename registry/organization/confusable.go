package organization

import (
	"slices"
	"strings"
	"unicode"
)

// scripts are those that names may be written in: the recommended ones of Unicode
// (UAX 31, table 5).
var scripts = []*unicode.RangeTable{
	unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul,
	unicode.Arabic, unicode.Armenian, unicode.Bengali, unicode.Bopomofo, unicode.Devanagari, unicode.Ethiopic,
	unicode.Georgian, unicode.Gujarati, unicode.Gurmukhi, unicode.Hebrew, unicode.Kannada, unicode.Khmer, unicode.Lao,
	unicode.Malayalam, unicode.Myanmar, unicode.Oriya, unicode.Sinhala, unicode.Tamil, unicode.Telugu, unicode.Thaana,
	unicode.Thai, unicode.Tibetan,
}

// together are the sets of scripts that one writing system uses (UTS 39, highly
// restrictive).
var together = [][]*unicode.RangeTable{
	{unicode.Latin, unicode.Han, unicode.Hiragana, unicode.Katakana},
	{unicode.Latin, unicode.Han, unicode.Bopomofo},
	{unicode.Latin, unicode.Han, unicode.Hangul},
}

// script is the script of a letter; nil: none of those.
func script(r rune) *unicode.RangeTable {
	for _, s := range scripts {
		if unicode.Is(s, r) {
			return s
		}
	}
	if r == 'ー' { // belongs to Hiragana and Katakana, and so to neither
		return unicode.Katakana
	}
	return nil
}

// oneScript reports whether a text is in one writing system, digits included.
func oneScript(text string) bool {
	var used []*unicode.RangeTable
	zero := rune(-1)
	for _, r := range text {
		if unicode.Is(unicode.Nd, r) {
			z := digitZero(r)
			if zero >= 0 && z != zero {
				return false
			}
			zero = z
		}
		if !unicode.IsLetter(r) {
			continue
		}
		s := script(r)
		if s == nil {
			return false
		}
		if !slices.Contains(used, s) {
			used = append(used, s)
		}
	}
	if len(used) <= 1 {
		return true
	}
	return slices.ContainsFunc(together, func(set []*unicode.RangeTable) bool {
		return !slices.ContainsFunc(used, func(s *unicode.RangeTable) bool { return !slices.Contains(set, s) })
	})
}

// digitZero is the zero of a decimal digit's set. Sets of ten follow each other
// without gaps in the table's ranges.
func digitZero(r rune) rune {
	for _, r16 := range unicode.Nd.R16 {
		if lo := rune(r16.Lo); r >= lo && r <= rune(r16.Hi) {
			return r - (r-lo)%10
		}
	}
	for _, r32 := range unicode.Nd.R32 {
		if lo := rune(r32.Lo); r >= lo && r <= rune(r32.Hi) {
			return r - (r-lo)%10
		}
	}
	return r
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// skeleton is what a text looks like, in the manner of UTS 39 §4: two texts that are
// mistaken for each other have the same. It is for comparing and never shown.
func skeleton(text string) string {
	var b strings.Builder
	for _, r := range text {
		b.WriteString(strings.ToLower(lookOf(r)))
	}
	low := b.String()
	b.Reset()
	for _, r := range low {
		b.WriteString(lookOf(r))
	}
	// Last, so that it sees what the letters look like.
	return strings.NewReplacer("rn", "m", "vv", "w").Replace(b.String())
}

func lookOf(r rune) string {
	if '！' <= r && r <= '～' { // full-width ASCII
		r -= '！' - '!'
	}
	if look, ok := looks[r]; ok {
		return look
	}
	return string(r)
}

// looks are the letters that look like Latin ones or digits, and some that look like
// each other: those of Unicode's confusables.txt that belong to scripts in use here.
var looks = parseLooks(lookText)

func parseLooks(text string) map[rune]string {
	m := make(map[rune]string)
	for line := range strings.Lines(text) {
		look, list, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, r := range strings.ReplaceAll(list, " ", "") {
			m[r] = look
		}
	}
	return m
}

// lookText has on each line a look, and the letters that have it. Capitals stand apart
// where they look like something else than their small letters.
const lookText = `a аαɑạаа
A АΑᎪ
b ƄЬᏏɓ
B ВΒᏴꞴ
c сϲᴄⲥ
C СϹᏟ
d ԁᏧɗ
D Ꭰ
e еҽ℮ẹ
E ЕΕᎬ
f ſẝք
F Ϝ
g ɡցɢ
G ԌᏀᏳ
h һհᏂ
H НΗᎻ
i іιıɩɪιӀᎥɨị
j јϳյ
J ЈͿᎫ
k кκĸ
K КΚᏦ
l I1ӏ|ןااⅼߊլǀƖ
L ԼᏞ
m м
M МΜᎷ
n пηոռɴ
N Ν
o 0оοσօჿסهہھ०০੦૦୦௦౦೦൦๐໐၀ဝഠ〇ⲟọοᴏ
O ОΟՕଠ
p рρⲣƿϸ
P РΡᏢ
q ԛգզ
r гᴦⲅɼ
R ᎡᏒ
s ѕꜱ
S ЅՏᏕᏚ
t т
T ТΤᎢ
u υսʋцᴜ
U ՍՍ
v νѵטᴠᵥ
V ᏙѴ
w ԝωшɯᴡվա
W ԜᎳᏔ
x хχ×⨯
X ХΧ
y уγүɣʏყ
Y УΥҮᎩᎽ
z ᴢʐ
Z ΖᏃ
3 ЗзӡʒƷȝ
4 Ꮞ
6 бᏮ
- ‐‑‒–—−
' ’ʼ´ʹ՚׳
口 ロ
二 ニ
一 ー
力 カ
夕 タ
卜 ト
工 エ
八 ハ
`

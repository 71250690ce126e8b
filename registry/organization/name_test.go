package organization

import (
	"errors"
	"strings"
	"testing"
)

func TestDomains(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a.", 120) + "com"
	for text, want := range map[string]error{
		"example.com": nil, "a.b.example.com": nil, "example.co.uk": nil, "xn--mller-kva.de": nil, "ann.github.io": nil,
		"xn--e1afmkfd.xn--p1ai": nil, "xn--fiqs8s.cn": nil, "3com.com": nil,
		"": ErrDomain, "com": ErrDomain, "co.uk": ErrDomain, "github.io": ErrDomain, "xn--p1ai": ErrDomain,
		"example.com.": ErrDomain, "Example.com": ErrDomain, "müller.de": ErrDomain, "*.example.com": ErrDomain,
		"_x.example.com": ErrDomain, "a b.com": ErrDomain, "-a.com": ErrDomain, "a-.com": ErrDomain, "a..com": ErrDomain,
		".example.com": ErrDomain, "192.0.2.1": ErrDomain, "2001:db8::1": ErrDomain, "localhost": ErrDomain,
		"printer.local": ErrDomain, "a.test": ErrDomain, "a.onion": ErrDomain, "corp.internal": ErrDomain,
		"1.168.192.in-addr.arpa": ErrDomain, "xn--.com": ErrDomain, "xn--a.com": ErrDomain, "xn--www-.com": ErrDomain,
		strings.Repeat("a", 64) + ".com": ErrDomain, long: ErrDomain, "ex\x00.com": ErrDomain, "http://example.com": ErrDomain,
		"example.com:80": ErrDomain, "ann@example.com": ErrDomain, "exa\u200dmple.com": ErrDomain,
		"xn--80ak6aa92e.com": ErrConfusable, // аррӏе
		"xn--pple-43d.com":   ErrConfusable, // аpple, the first letter Cyrillic
		"xn--e1awd7f.com":    ErrConfusable, // ерис
	} {
		d, err := ParseDomain(text)
		if !errors.Is(err, want) || err == nil && d.Name != text {
			t.Errorf("%q: got %+v, %v; want %v", text, d, err, want)
		}
	}
}

func TestDomainErrorsTellTheSpelling(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Example.COM": "write it as example.com", "example.com.": "write it as example.com", "müller.de": "write it as xn--mller-kva.de",
	} {
		if _, err := ParseDomain(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"Example, Inc.": nil, "Müller & Söhne (1897)": nil, "Яндекс": nil, "日本テレビ": nil, "NHK 日本放送協会": nil, "삼성 SDS": nil,
		"Ελλάδα": nil, "भारत": nil, "O’Reilly": nil, "3M": nil, "شركة": nil, "Yahoo!": nil, "株式会社": nil,
		"": ErrName, " Example": ErrName, "Example ": ErrName, "a  b": ErrName, "a\tb": ErrName, "a\nb": ErrName, "a\x00b": ErrName,
		"1234": ErrName, "\xff": ErrName, "Exa\u200bmple": ErrName, "\u202eelpmaxE": ErrName, "Example\ufe0f": ErrName,
		"Exàmple<": ErrName, "e\u0301cole": ErrName, "a\u00a0b": ErrName, "☃ Ltd": ErrName, strings.Repeat("a", MaxName+1): ErrName,
		"Gооgle": ErrConfusable, // Cyrillic о
		"𝐆oogle": ErrConfusable, "Αpple": ErrConfusable, "Google٣3": ErrConfusable,
		"ᏚᎪᏢ": ErrConfusable, // Cherokee, which no register of names recommends
	} {
		n, err := ParseName(text)
		if !errors.Is(err, want) || err == nil && n.Text != text {
			t.Errorf("%q: got %+v, %v; want %v", text, n, err, want)
		}
	}
}

func TestNamesThatAreTheSame(t *testing.T) {
	t.Parallel()
	a, err := ParseName("Open AI")
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseName("openai")
	if err != nil || a.Key != b.Key {
		t.Errorf("%+v and %+v, %v", a, b, err)
	}
}

// T78: at least 200 ways to write something that is taken for another name. Each is
// refused by itself or has the skeleton of what it imitates.
func TestT78Confusables(t *testing.T) {
	t.Parallel()
	tried := 0
	try := func(real, fake string) {
		if real == fake {
			return
		}
		tried++
		n, err := ParseName(fake)
		if errors.Is(err, ErrConfusable) || errors.Is(err, ErrName) {
			return
		}
		r, rerr := ParseName(real)
		if err != nil || rerr != nil || n.Skeleton != r.Skeleton {
			t.Errorf("%q for %q: %q and %q, %v", fake, real, n.Skeleton, r.Skeleton, errors.Join(err, rerr))
		}
	}
	for _, pair := range [][2]string{
		{"PayPal", "PayPaI"}, {"PayPal", "PayPa1"}, {"Google", "G00gle"}, {"Google", "Goog1e"}, {"Microsoft", "Rnicrosoft"},
		{"Amazon", "Arnazon"}, {"Intel", "lntel"}, {"Yahoo", "Yah0o"}, {"Twitter", "Tvvitter"}, {"Google", "Goo-gle"},
		{"Сбербанк", "C6ep6aнк"}, {"Google", "Ｇｏｏｇｌｅ"}, {"ABC", "АВС"}, {"scope", "ѕсоре"}, {"ニコニコ", "二コ二コ"},
		{"Google", "Goog le"}, {"Google", "ɡoogle"}, {"Oracle", "Οracle"}, {"Apple", "Аррӏе"}, {"Visa", "Vısa"},
	} {
		try(pair[0], pair[1])
	}
	// Every letter of the table in the place of what it looks like.
	for r, look := range looks {
		if len(look) == 1 && look != "-" && look != "'" {
			try("x"+look+"yz", "x"+string(r)+"yz")
			try(strings.Repeat(look, 3)+"e", strings.Repeat(string(r), 3)+"e")
		}
	}
	if tried < 200 {
		t.Errorf("only %d were tried", tried)
	}
}

// T78: domains that are taken for each other have one skeleton, or one is refused.
func TestT78Domains(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"google.com", "g00gle.com"}, {"paypal.com", "paypa1.com"}, {"modern.com", "modem.com"}, {"web.com", "vveb.com"}} {
		a, err := ParseDomain(pair[0])
		b, err2 := ParseDomain(pair[1])
		if err != nil || err2 != nil || a.Skeleton != b.Skeleton {
			t.Errorf("%+v and %+v: %v", a, b, errors.Join(err, err2))
		}
	}
	a, _ := ParseDomain("mail.com")
	b, _ := ParseDomain("mall.com")
	if a.Skeleton == b.Skeleton {
		t.Error("mail and mall are two words")
	}
}

func FuzzDomainAndName(f *testing.F) {
	for _, s := range []string{"example.com", "xn--80ak6aa92e.com", "Müller", "日本", "a\u0301", "x--y.com", "１.com"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDomain(s); err == nil {
			again, err := ParseDomain(d.Name)
			if err != nil || again != d || d.Skeleton == "" {
				t.Errorf("%q: %+v, then %+v %v", s, d, again, err)
			}
		}
		if n, err := ParseName(s); err == nil && (n.Text != s || n.Key == "" || n.Skeleton == "") {
			t.Errorf("%q: %+v", s, n)
		}
	})
}

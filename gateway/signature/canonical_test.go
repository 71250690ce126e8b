package signature

import (
	"strconv"
	"strings"
	"testing"

	"amesh/internal/ijson"

	"github.com/gowebpki/jcs"
)

// The examples of RFC 8785 §3.2.2 and §3.2.3, and what else has two spellings.
func TestCanonicalForm(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{ "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
		   "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
		   "literals": [null, true, false] }`: `{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		`{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`: "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}",
		` [ -0 , 0, -1, 1.0, 10, 123456789012345678 ] `:  `[0,0,-1,1,10,123456789012345680]`,
		`{"b":{"d":1,"c":{}},"a":[{"y":[],"x":2}],"":0}`: `{"":0,"a":[{"x":2,"y":[]}],"b":{"c":{},"d":1}}`,
		`{"aa":1,"a":2,"b":3}`:                           `{"a":2,"aa":1,"b":3}`,
	} {
		if err := ijson.Check([]byte(text), 32); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, err := canonical([]byte(text)); err != nil || string(got) != want {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", text, got, err, want)
		}
	}
}

// FuzzCanonical holds it against another implementation.
func FuzzCanonical(f *testing.F) {
	f.Add([]byte(`{"b":[1.50,{"z":"\u00e9\u0001","a":null}],"a":-0}`))
	f.Add([]byte(`{"\ud83d\ude00":1,"\uffff":2,"\ue000":3,"\ud7ff":4,"é":1e21,"e":1e-7}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if ijson.Check(text, 32) != nil {
			return
		}
		want, err := jcs.Transform(text)
		if err != nil {
			return
		}
		got, err := canonical(text)
		if err != nil || string(got) != string(want) {
			t.Fatalf("%q:\ngot  %q, %v\nwant %q", text, got, err, want)
		}
		if again, err := canonical(got); err != nil || string(again) != string(got) {
			t.Fatalf("%q: the form has another form %q", text, again)
		}
	})
}

// BenchmarkCanonicalHostile is a large body made to cost: many names in the wrong order.
func BenchmarkCanonicalHostile(b *testing.B) {
	var text strings.Builder
	text.WriteString(`{"p":{"x":0`)
	for i := 0; text.Len() < 10<<20; i++ {
		text.WriteString(`,"` + strconv.Itoa(i*7919) + `":1`)
	}
	text.WriteString("}}")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := canonical([]byte(text.String())); err != nil {
			b.Fatal(err)
		}
	}
}

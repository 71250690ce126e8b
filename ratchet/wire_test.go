package ratchet

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"
)

func TestParsePrefix(t *testing.T) {
	for name, c := range map[string]struct {
		in   []byte
		want Type
		err  error
	}{
		"knock":            {[]byte("\xA3msh\x01\x01"), TypeKnock, nil},
		"message":          {[]byte("\xA3msh\x01\x02and more"), TypeMessage, nil},
		"renew":            {[]byte("\xA3msh\x01\x04"), TypeRenew, nil},
		"message 0 alone":  {[]byte("\xA3msh\x01\x03"), 0, ErrMalformed},
		"unknown type":     {[]byte("\xA3msh\x01\x05"), 0, ErrUnsupported},
		"type zero":        {[]byte("\xA3msh\x01\x00"), 0, ErrUnsupported},
		"the draft's":      {[]byte("\xA3msh\x00\x02"), 0, ErrUnsupported},
		"later version":    {[]byte("\xA3msh\x02\x02"), 0, ErrUnsupported},
		"magic only":       {[]byte("\xA3msh"), 0, ErrMalformed},
		"without type":     {[]byte("\xA3msh\x01"), 0, ErrMalformed},
		"empty":            {nil, 0, ErrLegacy},
		"JSON of an SDK":   {[]byte(`{"type":"KNOCK"}`), 0, ErrLegacy},
		"almost our magic": {[]byte("\xA3msg\x01\x02"), 0, ErrLegacy},
		"longest":          {append([]byte("\xA3msh\x01\x02"), make([]byte, MaxEnvelope-6)...), TypeMessage, nil},
		"longer":           {append([]byte("\xA3msh\x01\x02"), make([]byte, MaxEnvelope-5)...), 0, ErrMalformed},
	} {
		got, err := ParsePrefix(c.in)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: got %d, %v, want %d, %v", name, got, err, c.want, c.err)
		}
	}
}

func TestEnvelopeID(t *testing.T) {
	id := EnvelopeID([]byte("abc"))
	if id.String() != "ba7816bf8f01cfea414140de5dae2223" {
		t.Errorf("got %s", id)
	}
	back, err := ParseID(id.String())
	if err != nil || back != id {
		t.Errorf("got %v, %v", back, err)
	}
	var viaJSON ID
	j, err := json.Marshal(id)
	if err != nil || string(j) != `"`+id.String()+`"` || json.Unmarshal(j, &viaJSON) != nil || viaJSON != id {
		t.Errorf("JSON: %s, %v", j, err)
	}
	for _, bad := range []string{"", "BA7816BF8F01CFEA414140DE5DAE2223", "ba7816bf8f01cfea414140de5dae222", "ba7816bf8f01cfea414140de5dae22231", "xx7816bf8f01cfea414140de5dae2223"} {
		if _, err := ParseID(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: got %v, want ErrMalformed", bad, err)
		}
	}
}

// T41: few lengths, little waste.
func TestT41PaddingClasses(t *testing.T) {
	want := []int{256, 512, 1088, 2048, 4096}
	for size := 4608; size <= 8192; size += 512 {
		want = append(want, size)
	}
	for size := 9216; size <= 16384; size += 1024 {
		want = append(want, size)
	}
	for size := 18432; size <= 32768; size += 2048 {
		want = append(want, size)
	}
	want = append(want, 36864, 40960, 45056)
	var got []int
	for n := 0; n <= MaxPlaintext; n++ {
		size := PaddedSize(n)
		if len(got) == 0 || got[len(got)-1] != size {
			got = append(got, size)
		}
		if size < n+4 {
			t.Fatalf("%d bytes padded to %d", n, size)
		}
		if n > 4096 && float64(size) > float64(n)*1.127 {
			t.Fatalf("%d bytes padded to %d", n, size)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("classes %v, want %v", got, want)
	}
	if PaddedSize(MaxPlaintext+1) != 0 || PaddedSize(-1) != 0 {
		t.Error("too long or negative has a class")
	}
}

func TestPadding(t *testing.T) {
	pad := func(p string, size int) []byte {
		b := make([]byte, size)
		padInto(b, []byte(p))
		return b
	}
	if p, err := unpad(pad("hi", 256)); err != nil || string(p) != "hi" {
		t.Errorf("got %q, %v", p, err)
	}
	dirty := pad("hi", 256)
	dirty[255] = 1
	long := pad("hi", 256)
	long[3] = 253
	huge := pad("hi", 256)
	huge[0] = 0xFF
	for name, b := range map[string][]byte{
		"class too big":     pad("hi", 512),
		"padding not zero":  dirty,
		"length beyond":     long,
		"length far beyond": huge,
		"not a class":       pad("hi", 300),
	} {
		if p, err := unpad(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %q, %v, want ErrMalformed", name, p, err)
		}
	}
}

// Padding that is not ours is refused after the tag verified, and moves nothing.
func TestBadPaddingFromThePeer(t *testing.T) {
	r := seeded("padding")
	a, b := pairOf(t, r)
	env := seal(t, a.Clone(), r, "good")
	mk, _ := chainStep(a.cks)
	body := env[bodyOffset:]
	plain := body[24 : len(body)-16]
	clear(plain)
	padInto(plain, []byte("good"))
	plain[len(plain)-1] = 1
	sealInPlace(body, &mk, bytes.Repeat([]byte{1}, 24), bodyAD(a.ad, env))
	if err := refuses(t, b, r, env); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
}

func TestMarshal(t *testing.T) {
	r := seeded("marshal")
	p := newParties(t, r, true)
	stages := map[string]*Session{"A fresh": p.initiate(t, r), "B fresh": p.respond(t)}
	a, b := pairOf(t, r)
	seal(t, a, r, "lost")
	open(t, b, r, seal(t, a, r, "seen"), "seen")
	open(t, a, r, seal(t, b, r, "turn"), "turn")
	seal(t, a, r, "lost in the new chain")
	open(t, b, r, seal(t, a, r, "new chain"), "new chain")
	stages["A bound"], stages["B with stored keys"] = a, b
	for name, s := range stages {
		raw := image(t, s)
		back, err := UnmarshalSession(raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(raw, image(t, back)) {
			t.Errorf("%s: comes back different", name)
		}
		for n := range len(raw) {
			if _, err := UnmarshalSession(raw[:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%s cut to %d bytes: got %v", name, n, err)
			}
		}
		if _, err := UnmarshalSession(append(raw[:len(raw):len(raw)], 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s with a byte more: got %v", name, err)
		}
	}
	back, err := UnmarshalSession(image(t, b))
	if err != nil {
		t.Fatal(err)
	}
	open(t, back, r, seal(t, a, r, "goes on"), "goes on")
	for name, change := range map[string]func(b []byte){
		"version": func(b []byte) { b[0] = 9 },
		"stage":   func(b []byte) { b[1] = 3 },
		"flag":    func(b []byte) { b[210] = 2 },
	} {
		raw := image(t, a)
		change(raw)
		if _, err := UnmarshalSession(raw); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

// What MarshalBinary never writes: more than a session may keep, and a chain of no
// keys.
func TestUnmarshalHasTheLimits(t *testing.T) {
	keys := func(n int) []storedKey { return make([]storedKey, n) }
	chains := func(sizes ...int) skipped {
		var k skipped
		for i, n := range sizes {
			k.chains = append(k.chains, chain{header: Secret{byte(i)}, keys: keys(n)})
		}
		return k
	}
	for name, c := range map[string]struct {
		stored skipped
		ok     bool
	}{
		"nothing":                    {chains(), true},
		"as many chains as are kept": {chains(slices.Repeat([]int{1}, MaxSkippedChains)...), true},
		"one chain more":             {chains(slices.Repeat([]int{1}, MaxSkippedChains+1)...), false},
		"all keys in one":            {chains(MaxSkipped), true},
		"all keys in two":            {chains(MaxSkipped-1, 1), true},
		"a key too many":             {chains(MaxSkipped + 1), false},
		"a key too many, in two":     {chains(MaxSkipped, 1), false},
		"a chain of no keys":         {chains(0), false},
		"a chain of none between":    {chains(1, 0, 1), false},
	} {
		s := &Session{stage: stageBound, skipped: c.stored}
		back, err := UnmarshalSession(image(t, s))
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && !bytes.Equal(image(t, s), image(t, back)) {
			t.Errorf("%s: comes back different", name)
		}
	}
}

func FuzzUnmarshalSession(f *testing.F) {
	r := seeded("fuzz")
	a, b := pairOf(f, r)
	seal(f, a, r, "lost")
	open(f, b, r, seal(f, a, r, "seen"), "seen")
	f.Add(image(f, a))
	f.Add(image(f, b))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := UnmarshalSession(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(raw, image(t, s)) {
			t.Error("two encodings of one session")
		}
	})
}

// T23: whatever a stranger sends, the session does not move.
func FuzzOpen(f *testing.F) {
	r := seeded("fuzz")
	a, b := pairOf(f, r)
	env := seal(f, a, r, "good")
	f.Add(env[:100])
	f.Add(append([]byte("\xA3msh\x00\x02"), make([]byte, 82+40+256)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if bytes.Equal(raw, env) {
			return
		}
		refuses(t, b, r, raw)
	})
}

func FuzzParsePrefix(f *testing.F) {
	f.Add([]byte("\xA3msh\x00\x02"))
	f.Add([]byte(`{"type":"KNOCK"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := ParsePrefix(raw)
		if err != nil {
			return
		}
		if p := Prefix(got); !bytes.HasPrefix(raw, p[:]) || len(raw) > MaxEnvelope {
			t.Errorf("took %x as type %d", raw, got)
		}
	})
}

package backup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"filippo.io/age"
)

var sample = []Entry{
	{File, []byte("policy.json"), []byte("{}")},
	{Agent, []byte("default"), bytes.Repeat([]byte{7}, 24)},
	{Row, []byte("o\x00\x01"), bytes.Repeat([]byte("salve "), 20_000)},
	{Row, []byte("empty"), []byte{}},
	{Row, bytes.Repeat([]byte{0xff}, maxName), bytes.Repeat([]byte{1}, maxValue)},
}

func keyPair(t testing.TB) *age.X25519Identity {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// written is a backup of entries for a key.
func written(t testing.TB, key *age.X25519Identity, list []Entry) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file, key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if err := w.Add(e.Kind, e.Name, e.Value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// all reads a backup to its end.
func all(r *Reader) ([]Entry, error) {
	var list []Entry
	for {
		e, err := r.Next()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, e)
	}
}

func read(file io.Reader, by ...age.Identity) ([]Entry, error) {
	r, err := NewReader(file, by...)
	if err != nil {
		return nil, err
	}
	return all(r)
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	key := keyPair(t)
	file := written(t, key, sample)
	got, err := read(iotest.HalfReader(bytes.NewReader(file)), key)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(sample, got, same) {
		t.Fatalf("%d entries came back of %d, or others", len(got), len(sample))
	}
	if bytes.Contains(file, []byte("salve")) {
		t.Error("the words of a message stand in the file")
	}
}

func same(a, b Entry) bool {
	return a.Kind == b.Kind && bytes.Equal(a.Name, b.Name) && bytes.Equal(a.Value, b.Value)
}

// The bytes inside the encryption, once as they are.
func TestBytes(t *testing.T) {
	var plain bytes.Buffer
	w, err := newWriter(open{&plain})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(Row, []byte("ab"), []byte("xyz")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	want := "amesh backup 1\n" + "\x03\x00\x02ab\x00\x00\x00\x03xyz" + "\x09\x00\x00\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x01"
	if plain.String() != want {
		t.Fatalf("%q, want %q", plain.String(), want)
	}
}

// open lets a Writer write without encryption.
type open struct{ io.Writer }

func (open) Close() error { return nil }

// A file that was cut anywhere, or of which any byte was changed, is never read as a
// whole one, and the error says what is wrong with it.
func TestCutOrChanged(t *testing.T) {
	key := keyPair(t)
	file := written(t, key, []Entry{{Row, []byte("k"), bytes.Repeat([]byte("v"), 70_000)}})
	bad := func(how string, at int, b []byte) {
		t.Helper()
		_, err := read(bytes.NewReader(b), key)
		_, none := errors.AsType[*age.NoIdentityMatchError](err)
		if err == nil || !none && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) {
			t.Errorf("%s at %d of %d: %v", how, at, len(file), err)
		}
		if at > len(file)-1000 && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s at %d of %d, in what is encrypted: %v", how, at, len(file), err)
		}
	}
	for at := 0; at < len(file); at++ {
		if at > 400 && at < len(file)-400 && at%997 != 0 {
			continue
		}
		bad("cut", at, file[:at])
		changed := bytes.Clone(file)
		changed[at] ^= 0x20
		bad("changed", at, changed)
	}
	bad("longer", len(file), append(bytes.Clone(file), 'x'))
}

// What was encrypted for the key, but by no Writer.
func TestForeignContent(t *testing.T) {
	key := keyPair(t)
	end := func(n uint64) string {
		return "\x09\x00\x00\x00\x00\x00\x08" + string(binary.BigEndian.AppendUint64(nil, n))
	}
	const row = "\x03\x00\x01k\x00\x00\x00\x01v"
	for _, c := range []struct {
		name, plain string
		want        error
	}{
		{"whole", head + row + end(1), nil},
		{"nothing", "", ErrFormat},
		{"a letter", "dear bob, the bank's code is 1234", ErrFormat},
		{"half a first line", "amesh back", ErrFormat},
		{"a later version", "amesh backup 2\n" + row + end(1), ErrNewer},
		{"a much later version", "amesh backup 10\n", ErrNewer},
		{"no end", head + row, ErrFormat},
		{"end of another", head + row + end(2), ErrFormat},
		{"end with a name", head + "\x09\x00\x01x\x00\x00\x00\x08" + strings.Repeat("\x00", 8), ErrFormat},
		{"end without a number", head + "\x09\x00\x00\x00\x00\x00\x00", ErrFormat},
		{"more behind the end", head + row + end(1) + row, ErrFormat},
		{"cut in a kind", head + "\x03", ErrFormat},
		{"cut in a name", head + "\x03\x00\x05abc", ErrFormat},
		{"cut in a length", head + "\x03\x00\x01k\x00", ErrFormat},
		{"cut in a value", head + "\x03\x00\x01k\x00\x00\x00\x05abc", ErrFormat},
		{"a huge name", head + "\x03\xff\xff", ErrFormat},
		{"a huge value", head + "\x03\x00\x01k\xff\xff\xff\xff", ErrFormat},
		{"a value one too long", head + "\x03\x00\x01k\x00\x20\x00\x01" + strings.Repeat("v", maxValue+1), ErrFormat},
	} {
		var file bytes.Buffer
		w, err := age.Encrypt(&file, key.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, c.plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := read(&file, key); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestOtherFiles(t *testing.T) {
	key := keyPair(t)
	for name, c := range map[string]struct {
		file io.Reader
		want error
	}{
		"nothing":              {strings.NewReader(""), ErrDamaged},
		"text":                 {strings.NewReader("PK\x03\x04 and so on, for longer than age's first line"), ErrFormat},
		"short text":           {strings.NewReader("PK"), ErrFormat},
		"age's first line":     {strings.NewReader("age-encryption.org/v1\n"), ErrDamaged},
		"age in armour":        {strings.NewReader("-----BEGIN AGE ENCRYPTED FILE-----\n"), ErrFormat},
		"a bad disk":           {iotest.ErrReader(errDisk), errDisk},
		"a disk that goes bad": {io.MultiReader(bytes.NewReader(written(t, key, sample)[:100_000]), iotest.ErrReader(errDisk)), errDisk},
	} {
		if _, err := read(c.file, key); !errors.Is(err, c.want) || c.want == errDisk && errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

var errDisk = errors.New("input/output error")

func TestAnotherKey(t *testing.T) {
	file := written(t, keyPair(t), sample)
	words, err := age.NewScryptIdentity("open sesame")
	if err != nil {
		t.Fatal(err)
	}
	for name, by := range map[string]age.Identity{"a stranger's key": keyPair(t), "a passphrase": words} {
		_, err := read(bytes.NewReader(file), by)
		if _, none := errors.AsType[*age.NoIdentityMatchError](err); !none {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := read(bytes.NewReader(file)); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("without a key: %v", err)
	}
}

// An entry that could not be read back is not written.
func TestTooBigForAnEntry(t *testing.T) {
	w, err := newWriter(open{io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if w.Add(Row, make([]byte, maxName+1), nil) == nil || w.Add(Row, nil, make([]byte, maxValue+1)) == nil {
		t.Error("an entry that is too big was written")
	}
}

// Once a write failed, Close does not say that the backup is whole.
func TestFullDisk(t *testing.T) {
	for room := range 5 {
		w, err := newWriter(open{&narrow{room: room * 64 << 10}})
		for range 5 {
			if err == nil {
				err = w.Add(Row, []byte("k"), make([]byte, 64<<10))
			}
		}
		if closed := w.Close(); closed == nil {
			t.Errorf("room for %d bytes: closed without an error, after %v", room*64<<10, err)
		}
	}
}

// narrow takes only so many bytes.
type narrow struct{ room int }

func (n *narrow) Write(p []byte) (int, error) {
	if n.room -= len(p); n.room < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

// What is read to the end has exactly one encoding, and no entry is larger than the
// limits say.
func FuzzReader(f *testing.F) {
	var plain bytes.Buffer
	w, err := newWriter(open{&plain})
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range sample[:2] {
		if err := w.Add(e.Kind, e.Name, e.Value); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(plain.Bytes())
	f.Add([]byte(head))
	f.Add([]byte(head + "\x03\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		list, err := all(r)
		for _, e := range list {
			if len(e.Name) > maxName || len(e.Value) > maxValue {
				t.Fatalf("entry of %d bytes named with %d", len(e.Value), len(e.Name))
			}
		}
		if err != nil {
			return
		}
		var again bytes.Buffer
		w, err := newWriter(open{&again})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if err := w.Add(e.Kind, e.Name, e.Value); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Fatalf("%v: %q was read, %q is written", err, b, again.Bytes())
		}
	})
}

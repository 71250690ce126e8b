package trim

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const smaps = `00400000-01ae2000 r-xp 00000000 fe:00 10913421                           /usr/bin/amesh
Size:              23432 kB
Rss:               17352 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
01ae2000-034b5000 r--p 016e2000 fe:00 10913421                           /usr/bin/amesh
Rss:               18956 kB
Anonymous:             4 kB
034b5000-035d4000 rw-p 030b5000 fe:00 10913421                           /usr/bin/amesh
Rss:                 892 kB
Anonymous:             0 kB
035d4000-035d6000 r--p 030b5000 fe:00 10913421                           /usr/bin/amesh
Rss:                   8 kB
Anonymous:             0 kB
15fe74400000-15fe75400000 r--p 00000000 00:00 0 
Anonymous:             0 kB
7f2a59b80000-7f2a59c00000 r--p 00000000 fe:00 77                         /var/lib/a file
Anonymous:             0 kB
`

func TestOnlyWhatIsAsInTheFileIsForgotten(t *testing.T) {
	for _, c := range []struct {
		file string
		want []mapping
	}{
		{"/usr/bin/amesh", []mapping{{0x400000, 0x1ae2000}, {0x35d4000, 0x35d6000}}},
		{"/var/lib/a file", []mapping{{0x7f2a59b80000, 0x7f2a59c00000}}},
		{"/usr/bin/amesh (deleted)", nil},
		{"", nil},
	} {
		got, err := untouched(strings.NewReader(smaps), c.file)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q: %x, %v, want %x", c.file, got, err, c.want)
		}
	}
}

func TestProgramGoesOnWithoutItsPages(t *testing.T) {
	for range 3 {
		if err := Memory(); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if list, err := untouched(f, self); err != nil || len(list) == 0 {
		t.Errorf("nothing of %s was forgotten: %v", self, err)
	}
}

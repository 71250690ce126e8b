package trim

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// program forgets the mappings of the executable file.
func program() error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer f.Close()
	list, err := untouched(f, self)
	if err != nil {
		return err
	}
	var all []error
	for _, m := range list {
		if _, _, no := syscall.Syscall(syscall.SYS_MADVISE, m.from, m.to-m.from, syscall.MADV_DONTNEED); no != 0 {
			all = append(all, fmt.Errorf("madvise: %w", no))
		}
	}
	return errors.Join(all...)
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// untouched reads the form of /proc/PID/smaps and returns the mappings of a file that cannot be
// written to and of which no page differs from the file. The second matters: a debugger's
// breakpoints, or what a loader relocated before it took the right to write away, would be lost.
func untouched(smaps io.Reader, file string) (list []mapping, err error) {
	var m mapping
	wanted := false
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		line := lines.Text()
		if amount, ok := strings.CutPrefix(line, "Anonymous:"); ok {
			if wanted && strings.TrimSpace(amount) == "0 kB" {
				list = append(list, m)
			}
			wanted = false
			continue
		}
		// from-to rights offset device inode path
		head := strings.Fields(line)
		if len(head) < 6 || strings.HasSuffix(head[0], ":") {
			continue
		}
		if _, err := fmt.Sscanf(head[0], "%x-%x", &m.from, &m.to); err != nil {
			return nil, fmt.Errorf("mapping %q: %w", head[0], err)
		}
		_, path, _ := strings.Cut(line, head[4])
		wanted = strings.TrimSpace(path) == file && !strings.Contains(head[1], "w")
	}
	return list, lines.Err()
}

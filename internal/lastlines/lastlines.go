// Package lastlines keeps the last lines that were written, in memory: what a log said
// lately, for a report about a trouble that just happened.
package lastlines

import "sync"

// maxLine is how much of a line is kept, in bytes.
const maxLine = 1 << 10

// Lines is an io.Writer that takes a line with every Write, as the handlers of log/slog
// do, and keeps the last ones. It is safe for concurrent use.
type Lines struct {
	mu   sync.Mutex
	kept []string
	next int // where the next one goes, once all places are taken
	most int
}

// New keeps at most so many lines.
func New(most int) *Lines { return &Lines{most: max(most, 1)} }

// Write keeps a line. It never fails.
func (l *Lines) Write(b []byte) (int, error) {
	line := b
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	text := string(line[:min(len(line), maxLine)])
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept) < l.most {
		l.kept = append(l.kept, text)
		return len(b), nil
	}
	l.kept[l.next] = text
	l.next = (l.next + 1) % l.most
	return len(b), nil
}

// All returns the lines, the oldest first.
func (l *Lines) All() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(append(make([]string, 0, len(l.kept)), l.kept[l.next:]...), l.kept[:l.next]...)
}

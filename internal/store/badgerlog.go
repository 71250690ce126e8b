package store

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// lostSync begins the line with which Badger reports that the value log could not
// be synced. It is all that Badger does about it: the commit goes on and
// succeeds. So we read its log. A test looks for the line in Badger's source.
const lostSync = "Error while curlf sync"

// lostFlush begins the line with which Badger reports a memtable that could not
// be written as a table. It tries again each second, for ever, and a Close or a
// commit that needs the memtable gone waits as long.
const lostFlush = "error flushing memtable to disk"

// badgerLog gives Badger's log to ours.
type badgerLog struct {
	log         *slog.Logger
	syncFailed  func(error)
	flushFailed func(error)
}

func (l *badgerLog) Errorf(format string, args ...any) {
	line := text(format, args)
	switch {
	case strings.HasPrefix(format, lostSync):
		l.syncFailed(errors.New(line))
	case strings.HasPrefix(format, lostFlush):
		l.flushFailed(errors.New(line))
	}
	l.log.Error("badger", "line", line)
}

func (l *badgerLog) Warningf(format string, args ...any) {
	l.log.Warn("badger", "line", text(format, args))
}

// Infof logs at debug: what Badger finds worth telling is of no use to an owner.
func (l *badgerLog) Infof(format string, args ...any) {
	l.log.Debug("badger", "line", text(format, args))
}

// Debugf drops the line: Badger has several for every commit.
func (l *badgerLog) Debugf(string, ...any) {}

func text(format string, args []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, args...))
}

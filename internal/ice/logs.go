package ice

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// logs has pion's words written as Debug, whatever pion thinks of them: nearly all are
// about what strangers send.
type logs struct{ log *slog.Logger }

// NewLogger implements pion's LoggerFactory.
func (l logs) NewLogger(string) logging.LeveledLogger { return l }

func (l logs) say(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("ice", "says", fmt.Sprintf(format, args...))
	}
}

// Pion traces every packet that goes out.
func (l logs) Trace(string)          {}
func (l logs) Tracef(string, ...any) {}

func (l logs) Debug(s string)            { l.say("%s", s) }
func (l logs) Debugf(f string, a ...any) { l.say(f, a...) }
func (l logs) Info(s string)             { l.say("%s", s) }
func (l logs) Infof(f string, a ...any)  { l.say(f, a...) }
func (l logs) Warn(s string)             { l.say("%s", s) }
func (l logs) Warnf(f string, a ...any)  { l.say(f, a...) }
func (l logs) Error(s string)            { l.say("%s", s) }
func (l logs) Errorf(f string, a ...any) { l.say(f, a...) }

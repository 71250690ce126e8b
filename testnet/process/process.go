// Package process runs amesh as a child, the way its users run it, and looks after the
// child: until it is ready, until it ends, and what it wrote last. A child never outlives
// its parent where the system can see to that.
package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// Config says what to start.
type Config struct {
	Name   string // for people: alice, relay
	Binary string
	Args   []string
	Env    []string
	Dir    string
	Log    string // file that output and errors are appended to
}

// Process is a child that runs until it is stopped or ends by itself. Its methods
// may be called from any goroutine.
type Process struct {
	name string
	log  string
	proc *os.Process
	done chan struct{}
	err  error // how it ended, readable when done is closed
}

// Start starts a child. The caller stops or kills it.
func Start(c Config) (*Process, error) {
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	defer log.Close() // the child has its own handle then
	cmd := exec.Command(c.Binary, c.Args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.Env, c.Dir, log, log
	cmd.SysProcAttr = DieWithParent()

	p := &Process{name: c.Name, log: c.Log, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The thread must live as long as the child, see DieWithParent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	p.proc = cmd.Process
	return p, nil
}

// Name is what people call the child.
func (p *Process) Name() string { return p.name }

// Log is the file that the child's output and errors go to.
func (p *Process) Log() string { return p.log }

// PID is the number of the child.
func (p *Process) PID() int { return p.proc.Pid }

// Done closes when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ready waits for the file that a child writes when it is ready, and decodes it.
// It ends early when the child does.
func (p *Process) Ready(ctx context.Context, file string, every time.Duration, into any) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		raw, err := os.ReadFile(file)
		if err == nil {
			if err := json.Unmarshal(raw, into); err != nil {
				return fmt.Errorf("addresses of %s: %w", p.name, err)
			}
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("addresses of %s: %w", p.name, err)
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready (%s)", p.name, p.Ended())
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to be ready: %w", p.name, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Ended says how the child ended; only after Done.
func (p *Process) Ended() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

// Stop asks the child to end and waits. One that does not end in time is killed,
// and one that ends with an error has not ended well: both are errors.
func (p *Process) Stop(grace time.Duration) error {
	if err := p.proc.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return errors.Join(fmt.Errorf("stop %s: %w", p.name, err), p.Kill())
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("stop %s: %w", p.name, p.err)
		}
		return nil
	case <-late.C:
		return errors.Join(fmt.Errorf("stop %s: still there %s after SIGTERM, killed", p.name, grace), p.Kill())
	}
}

// Kill ends the child with SIGKILL and waits until it is gone. Killing a dead
// child is no error.
func (p *Process) Kill() error {
	if err := p.proc.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.done
	return nil
}

// Tail returns the last lines of the child's log, made harmless for a terminal.
func (p *Process) Tail(lines int) []string {
	raw, err := os.ReadFile(p.log)
	if err != nil {
		return []string{err.Error()}
	}
	all := strings.Split(string(bytes.TrimRight(raw, "\n")), "\n")
	all = all[max(0, len(all)-lines):]
	for i := range all {
		all[i] = Harmless(all[i])
	}
	return all
}

// Harmless replaces what a terminal would obey instead of show.
func Harmless(line string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsGraphic(r) {
			return r
		}
		return '\uFFFD'
	}, line)
}

// Environment is ours without what would change what amesh does, with home as the
// folder of its state.
func Environment(home string) []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "AMESH_") && name != "HOME" && name != "HOST" && name != "PORT" {
			env = append(env, v)
		}
	}
	return append(env, "HOME="+home, "AMESH_HOME="+home)
}

package natbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"
)

// The control socket takes one line of JSON, the new Faults, and answers with one, a
// verdict. Only the user who started the box may connect.

// verdict is the answer: empty when the faults are in force.
type verdict struct {
	Error string `json:"error,omitempty"`
}

// Set puts new faults in force at the box whose control socket is at path, and returns
// when they are.
func Set(ctx context.Context, path string, f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, controlPatience)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("no box answers at %s: %w", path, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	line, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("ask the box at %s: %w", path, err)
	}
	var answer verdict
	if err := readLine(conn, &answer); err != nil {
		return fmt.Errorf("hear from the box at %s: %w", path, err)
	}
	if answer.Error != "" {
		return errors.New(answer.Error)
	}
	return nil
}

// readLine decodes one line.
func readLine(r io.Reader, into any) error {
	line, err := bufio.NewReader(io.LimitReader(r, maxControlLine)).ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}

// listenControl opens the socket at path. A socket that is there already was left by
// a box that died: two boxes cannot share a namespace.
func listenControl(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), l.Close())
	}
	return l, nil
}

// serveControl answers at the socket until ctx ends, one question after the other.
func serveControl(ctx context.Context, l net.Listener, apply func(Faults) error) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var one sync.Mutex
	for {
		conn, err := l.Accept()
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("control socket: %w", err)
		}
		wg.Go(func() {
			defer conn.Close()
			answerControl(conn, func(f Faults) error {
				one.Lock()
				defer one.Unlock()
				return apply(f)
			})
		})
	}
}

// answerControl reads one question, applies it and answers. An asker who goes away has
// no answer to get.
func answerControl(conn net.Conn, apply func(Faults) error) {
	if err := conn.SetDeadline(time.Now().Add(controlPatience)); err != nil {
		return
	}
	var f Faults
	err := readLine(conn, &f)
	if err == nil {
		err = f.check()
	}
	if err == nil {
		err = apply(f)
	}
	var answer verdict
	if err != nil {
		answer.Error = err.Error()
	}
	line, err := json.Marshal(answer)
	if err != nil {
		return
	}
	_, _ = conn.Write(append(line, '\n'))
}

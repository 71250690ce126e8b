package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"amesh/gateway/amtp"
)

// side is a server in a process of its own, and clients for it.
type side struct {
	url  string
	cmd  *exec.Cmd
	life io.Closer
	http *http.Client
	keys map[string]string // of agents
}

// startSide starts a server in a folder of its own below dir.
func startSide(ctx context.Context, o options, what string) (s *side, err error) {
	dir, err := os.MkdirTemp(o.dir, "side")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s = &side{cmd: exec.CommandContext(ctx, self, "serve", what, dir), keys: map[string]string{}}
	s.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.clients}, Timeout: time.Minute}
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if s.life, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s does not listen: %w", what, err), s.stop())
	}
	s.url = strings.TrimSpace(line)
	return s, nil
}

func (s *side) stop() error {
	s.http.CloseIdleConnections()
	_ = s.life.Close()
	return s.cmd.Wait()
}

// do makes a request and wants a status.
func (s *side) do(ctx context.Context, method, path string, body []byte, status int, headers ...string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := s.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != status {
		err = fmt.Errorf("%s %s: status %d, want %d: %.200s", method, path, answer.StatusCode, status, raw)
	}
	return raw, err
}

// register registers agents that fetch their messages.
func (s *side) register(ctx context.Context, clients int, names ...string) error {
	var mu sync.Mutex
	return each(clients, len(names), func(i int) error {
		body := fmt.Sprintf(`{"address":%q,"delivery_mode":"pull"}`, names[i])
		raw, err := s.do(ctx, http.MethodPost, "/v1/admin/agents", []byte(body), http.StatusCreated, "X-Admin-Key", adminKey)
		if err != nil {
			return err
		}
		var answer struct {
			Agent struct {
				Key string `json:"api_key"`
			}
		}
		mu.Lock()
		defer mu.Unlock()
		err = json.Unmarshal(raw, &answer)
		s.keys[names[i]] = answer.Agent.Key
		return err
	})
}

// payload is 1 KiB of JSON.
var payload = `{"text":"` + strings.Repeat("x", 1024-11) + `"}`

// send sends a message of ann with a payload of 1 KiB.
func (s *side) send(ctx context.Context, to string, status int) error {
	body := fmt.Sprintf(`{"version":"1.0","idempotency_key":%q,"sender":"ann@%s","recipients":[%q],"subject":"bench","payload":%s}`,
		amtp.NewKey(), domain, to, payload)
	_, err := s.do(ctx, http.MethodPost, "/v1/messages", []byte(body), status, "Authorization", "Bearer "+s.keys["ann"])
	return err
}

// rss is the memory of the server's process, in bytes.
func (s *side) rss() (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(raw), "VmRSS:")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, errors.New("the system does not say how much memory a process has")
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	return kib << 10, err
}

// each calls fn for 0 to n-1 in so many goroutines, until one fails.
func each(workers, n int, fn func(i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[w] = fn(i); errs[w] != nil {
					next.Store(int64(n))
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// turn is what one side did in its turn.
type turn struct {
	n     int
	took  time.Duration
	times []time.Duration
}

func (t turn) rate() float64 { return float64(t.n) / t.took.Seconds() }

// take lets clients do something again and again for a while.
func take(clients int, slice time.Duration, do func() error) (t turn, err error) {
	begin := time.Now()
	var mu sync.Mutex
	err = each(clients, 1<<40, func(int) error {
		if time.Since(begin) >= slice {
			return errOver
		}
		start := time.Now()
		if err := do(); err != nil {
			return err
		}
		took := time.Since(start)
		mu.Lock()
		defer mu.Unlock()
		t.n, t.times = t.n+1, append(t.times, took)
		return nil
	})
	t.took = time.Since(begin)
	return t, over(err)
}

// errOver ends a turn.
var errOver = errors.New("the turn is over")

// over is what went wrong in a turn besides its end.
func over(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	for _, e := range joined.Unwrap() {
		if !errors.Is(e, errOver) {
			return e
		}
	}
	return nil
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"amesh/testnet/lab/bench"
)

// idle is what connections cost that say nothing, in bytes each.
type idle struct {
	connections int
	bytes       []int
}

const (
	idleBar = 17 << 10
	idleAim = 8 << 10
	// settle is the time in which a server puts away what connecting took.
	settle = 2 * time.Second
)

// idleMemory measures in each round a relay that was started for it.
func (h *house) idleMemory() (*idle, error) {
	m := &idle{connections: h.o.idle}
	for range h.o.Rounds {
		n, err := h.idleOnce()
		if err != nil {
			return nil, fmt.Errorf("idle: %w", err)
		}
		m.bytes = append(m.bytes, n)
	}
	return m, nil
}

func (h *house) idleOnce() (bytes int, err error) {
	relay, err := h.start("relay", h.o.profile)
	if err != nil {
		return 0, err
	}
	time.Sleep(settle)
	before, err := residentBytes(relay.pid)
	if err != nil {
		return 0, err
	}
	var mu sync.Mutex
	var sockets []*client
	defer func() {
		for _, s := range sockets {
			s.leave()
		}
	}()
	_, err = allConnecting(h.o.idle, func(int) error {
		a, err := newAgent()
		if err != nil {
			return err
		}
		s, err := dial(relay.addr, connectBuffer)
		if err != nil {
			return err
		}
		mu.Lock()
		sockets = append(sockets, s)
		mu.Unlock()
		return s.join(a.hello())
	})
	if err != nil {
		return 0, err
	}
	time.Sleep(settle)
	after, err := residentBytes(relay.pid)
	return (after - before) / h.o.idle, err
}

// residentBytes is the memory that a process has in use.
func residentBytes(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			var kib int
			_, err := fmt.Sscanf(rest, "%d kB", &kib)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d does not tell its memory", pid)
}

func (m *idle) missed() bool { return bench.Median(m.bytes) > idleBar }

func (m *idle) report(w io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(struct {
			Name   string `json:"name"`
			Bytes  []int  `json:"bytes"`
			Bar    int    `json:"bar"`
			Aim    int    `json:"aim"`
			Missed bool   `json:"missed"`
		}{caseIdle, m.bytes, idleBar, idleAim, m.missed()})
	}
	word := func(most int, yes, no string) string {
		if bench.Median(m.bytes) <= most {
			return yes
		}
		return no
	}
	kib := func(n int) float64 { return float64(n) / 1024 }
	_, err := fmt.Fprintf(w, "\nidle authenticated connection, %d of them: %.1f KiB (%.1f to %.1f), bar %.0f %s, aim %.0f %s\n",
		m.connections, kib(bench.Median(m.bytes)), kib(slices.Min(m.bytes)), kib(slices.Max(m.bytes)),
		kib(idleBar), word(idleBar, "ok", "MISSED"), kib(idleAim), word(idleAim, "reached", "not reached"))
	return err
}

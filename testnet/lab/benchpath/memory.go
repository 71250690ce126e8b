package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"amesh/testnet/lab/bench"
)

const (
	// memoryBar and memoryAim are how much of a bare host's memory an idle node may
	// have.
	memoryBar = 2.0
	memoryAim = 1.3
	// idleFor is how long a process does nothing before it is looked at.
	idleFor = 10 * time.Second
)

// errNotTold says that this system does not tell what memory a process has.
var errNotTold = errors.New("this system does not tell the memory of a process")

// footprint is the resident memory of a process in KiB, as the system counts it: its
// own, and that of files, which is mostly the program.
type footprint struct {
	All  int `json:"all_kib"`
	Anon int `json:"anon_kib"`
	File int `json:"file_kib"`
}

// memory is what an idle node has in use, with an agent, a relay and a DHT server, beside
// a bare libp2p host with the same listeners.
type memory struct {
	node, bare []footprint
}

// idleMemory starts both anew for every round. Both are idle at the same time.
func (h *house) idleMemory(binary string, rounds int, idle time.Duration) (*memory, error) {
	ctx := context.Background()
	m, err := h.newMesh(ctx, binary, 1)
	if err != nil {
		return nil, err
	}
	ann, err := m.add(ctx, "ann", m.relays[0].Relay)
	if err != nil {
		return nil, err
	}
	var all memory
	for range rounds {
		if err := ann.stop(); err != nil {
			return nil, err
		}
		if err := ann.start(ctx); err != nil {
			return nil, err
		}
		b, err := startBare("")
		if err != nil {
			return nil, err
		}
		time.Sleep(idle)
		for pid, list := range map[int]*[]footprint{ann.proc.PID(): &all.node, b.cmd.Process.Pid: &all.bare} {
			f, err := footprintOf(pid)
			if err != nil {
				return nil, err
			}
			*list = append(*list, f)
		}
		if err := b.stop(); err != nil {
			return nil, err
		}
	}
	return &all, nil
}

func footprintOf(pid int) (f footprint, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return f, errors.Join(errNotTold, err)
	}
	for name, into := range map[string]*int{"VmRSS:": &f.All, "RssAnon:": &f.Anon, "RssFile:": &f.File} {
		_, rest, ok := strings.Cut(string(b), name)
		if !ok {
			return f, fmt.Errorf("%w: no %s", errNotTold, name)
		}
		if _, err := fmt.Sscanf(rest, "%d kB", into); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (m *memory) ratios() (list []float64) {
	for i := range m.node {
		list = append(list, float64(m.node[i].All)/float64(m.bare[i].All))
	}
	return list
}

func (m *memory) missed() bool { return bench.Median(m.ratios()) > memoryBar }

func (m *memory) report(w io.Writer, asJSON bool) error {
	r := m.ratios()
	if asJSON {
		return json.NewEncoder(w).Encode(struct {
			Name   string      `json:"name"`
			Ratios []float64   `json:"ratios"`
			Bar    float64     `json:"bar"`
			Aim    float64     `json:"aim"`
			Missed bool        `json:"missed"`
			Node   []footprint `json:"node"`
			Bare   []footprint `json:"bare"`
		}{caseMemory, r, memoryBar, memoryAim, m.missed(), m.node, m.bare})
	}
	_, err := fmt.Fprintf(w, "\nidle memory after %v, MiB: node %s; bare libp2p host %s; %.2f (%.2f to %.2f) times, bar %s, aim %s\n", idleFor,
		middle(m.node), middle(m.bare), bench.Median(r), slices.Min(r), slices.Max(r),
		atMost(bench.Median(r), memoryBar, "ok", "MISSED"), atMost(bench.Median(r), memoryAim, "reached", "not reached"))
	return err
}

// middle are the medians, and of what they consist.
func middle(list []footprint) string {
	mib := func(of func(footprint) int) float64 {
		var all []int
		for _, f := range list {
			all = append(all, of(f))
		}
		return float64(bench.Median(all)) / 1024
	}
	return fmt.Sprintf("%.1f (%.1f own, %.1f of files)", mib(func(f footprint) int { return f.All }),
		mib(func(f footprint) int { return f.Anon }), mib(func(f footprint) int { return f.File }))
}

func atMost(got, want float64, yes, no string) string {
	if got <= want {
		return fmt.Sprintf("%.1f %s", want, yes)
	}
	return fmt.Sprintf("%.1f %s", want, no)
}

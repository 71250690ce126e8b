package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// prefixOfNames begins the names of all namespaces that this package makes. The number
// of the process follows.
const prefixOfNames = "amesh-"

// namesDir is where ip keeps the namespaces that have names.
const namesDir = "/run/netns"

// line is one command for ip, without the program's name.
func line(words ...any) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = fmt.Sprint(w)
	}
	return strings.Join(texts, " ")
}

// ip runs one command.
func ip(ctx context.Context, command string) error {
	_, err := run(ctx, "ip", strings.Fields(command)...)
	return err
}

// inSpace runs commands in a namespace, in their order, until one fails.
func inSpace(ctx context.Context, space string, commands ...string) error {
	for _, c := range commands {
		if err := ip(ctx, line("-n", space, c)); err != nil {
			return err
		}
	}
	return nil
}

// setting is one of the kernel's, by its path below /proc/sys.
type setting struct{ path, value string }

// quiet is set in every namespace.
var quiet = []setting{
	// Addresses here are given once, and whoever asks for them first would wait.
	{"net/ipv6/conf/default/accept_dad", "0"},
	// The router of the public network has one interface, and would tell everybody
	// about shorter ways.
	{"net/ipv4/conf/all/send_redirects", "0"},
	{"net/ipv4/conf/default/send_redirects", "0"},
	// Where the machine filters bridged frames, as Docker has it do, those of a network
	// would be tracked as if its router had passed them on.
	{"net/bridge/bridge-nf-call-iptables", "0"},
	{"net/bridge/bridge-nf-call-ip6tables", "0"},
	{"net/bridge/bridge-nf-call-arptables", "0"},
}

// set writes settings of a namespace, those that this kernel has.
func set(ctx context.Context, space string, all ...setting) error {
	var script strings.Builder
	script.WriteString("set -e\n")
	for _, s := range all {
		fmt.Fprintf(&script, "if [ -e /proc/sys/%s ]; then echo %s >/proc/sys/%s; fi\n", s.path, s.value, s.path)
	}
	_, err := run(ctx, "ip", "netns", "exec", space, "sh", "-c", script.String())
	return err
}

func run(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// sweep takes away the namespaces of worlds whose process is gone.
func sweep(ctx context.Context) error {
	entries, err := os.ReadDir(namesDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	var all []error
	for _, e := range entries {
		pid, ok := maker(e.Name())
		if !ok || alive(pid) {
			continue
		}
		all = append(all, remove(ctx, e.Name()))
	}
	return errors.Join(all...)
}

// maker is the process that a namespace's name speaks of.
func maker(name string) (pid int, ok bool) {
	rest, ok := strings.CutPrefix(name, prefixOfNames)
	if !ok {
		return 0, false
	}
	number, _, ok := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(number)
	return pid, ok && err == nil && pid > 0
}

func alive(pid int) bool {
	_, err := os.Stat("/proc/" + strconv.Itoa(pid))
	return err == nil
}

// remove takes a namespace away, after what still runs in it.
func remove(ctx context.Context, space string) error {
	pids, err := run(ctx, "ip", "netns", "pids", space)
	if err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	for text := range strings.FieldsSeq(pids) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("netns: processes in %s: %w", space, err)
		}
		if pid == os.Getpid() {
			continue // a thread of ours is on a visit there
		}
		if p, err := os.FindProcess(pid); err == nil {
			_ = p.Kill() // it may have ended by itself
		}
	}
	if err := ip(ctx, line("netns del", space)); err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	return nil
}

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

// set writes a kernel setting of a namespace.
func set(ctx context.Context, space, setting, value string) error {
	_, err := run(ctx, "ip", "netns", "exec", space, "sh", "-c", "echo "+value+" >/proc/sys/"+setting)
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

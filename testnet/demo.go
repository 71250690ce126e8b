package testnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"amesh/testnet/process"
)

// DemoConfig says how to run the demo.
type DemoConfig struct {
	Binary string    // the amesh executable to start
	File   string    // the file that is sent, at most 1 MiB; empty: README.md of the current folder, else a letter of ours
	JSON   bool      // one JSON object a step instead of the story
	Keep   bool      // leave the folders, with logs and what the proxy recorded
	Out    io.Writer // where the transcript goes
}

// StepError says which step of the demo did not go as it must. Err tells why.
type StepError struct {
	Step string
	Err  error
}

func (e *StepError) Error() string { return fmt.Sprintf("step %q: %v", e.Step, e.Err) }
func (e *StepError) Unwrap() error { return e.Err }

// demo is one run of Demo. It is for one goroutine; only the proxy has its own.
type demo struct {
	cfg    DemoConfig
	limits limits
	say    *transcript
	dir    string
	file   letter

	relay      *relayServer
	proxy      *proxy
	proxyEnds  func() error
	alice, bob *agent
	carol      *agent
	processes  []*process.Process // all that were started, the latest last

	said []needle // what must be seen by nobody but the two
}

// letter is the file that alice sends.
type letter struct {
	path string // our copy of it
	note string // where it is from
	body []byte
}

// step is one part of the demo. Its data are for programs.
type step struct {
	name, says string
	run        func(ctx context.Context) (data any, err error)
}

func (d *demo) steps() []step {
	return []step{
		{"start", "a relay, a recording proxy before it, the nodes of alice and bob", d.start},
		{"identities", "who they are, and that the DHT knows it", d.identities},
		{"knock", "alice asks and is let in, carol is refused", d.knock},
		{"direct", "a file, over a direct connection", d.sendDirect},
		{"relayed", "a larger file, through the relay in parts", d.sendRelayed},
		{"restart", "bob is away, the relay is killed, nothing is lost", d.restart},
		{"search", "what the relay and the wire have seen", d.search},
	}
}

// Demo shows amesh on this machine: it starts a relay and nodes as processes of
// their own, in temporary folders and on ports that the kernel chooses, and does
// with them what an owner would. It returns nil when everything went as it must,
// *StepError when a step did not, the context's error when that ended first, and
// another error when the demo could not begin. All processes are gone when it
// returns, and so are the folders unless they are to be kept.
func Demo(ctx context.Context, cfg DemoConfig) error {
	d, err := newDemo(cfg, defaultLimits())
	if err != nil {
		return err
	}
	// With somebody listening, a reader that goes away (amesh demo | head) is an
	// error of the next write. Otherwise it would kill us before the cleaning up.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	return errors.Join(d.run(ctx), d.close())
}

func newDemo(cfg DemoConfig, l limits) (*demo, error) {
	if cfg.Binary == "" || cfg.Out == nil {
		return nil, errors.New("demo: no executable or no output given")
	}
	file, err := readLetter(cfg.File, l.FileBytes)
	if err != nil {
		return nil, err
	}
	dir, err := makeFolder()
	if err != nil {
		return nil, err
	}
	d := &demo{cfg: cfg, limits: l, dir: dir, file: file, proxyEnds: func() error { return nil }}
	d.say = &transcript{out: cfg.Out, json: cfg.JSON, steps: len(d.steps())}
	d.say.abbreviate(dir+string(filepath.Separator), "")
	return d, nil
}

// run goes through the steps.
func (d *demo) run(parent context.Context) error {
	ctx, cancel := context.WithTimeoutCause(parent, d.limits.Total,
		fmt.Errorf("the demo takes longer than %s", d.limits.Total))
	defer cancel()
	began := time.Now()
	d.say.printf("amesh demo: three agents and a relay on this machine, in %s\n", d.dir)
	for _, s := range d.steps() {
		if err := d.do(ctx, s); err != nil {
			if parent.Err() != nil {
				d.say.note("interrupted")
				return fmt.Errorf("interrupted: %w", parent.Err())
			}
			return err
		}
	}
	d.say.printf("\nall %d steps passed in %.1f s\n", len(d.steps()), time.Since(began).Seconds())
	return d.say.err
}

func (d *demo) do(ctx context.Context, s step) error {
	d.say.begin(s.name, s.says)
	began := time.Now()
	data, err := s.run(ctx)
	took := time.Since(began)
	if err == nil {
		d.say.passed(s.name, took, data)
		return d.say.err
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", err, cause)
	}
	if !errors.Is(err, context.Canceled) {
		d.say.failed(s.name, took, err, d.tails())
	}
	return &StepError{s.name, err}
}

// tails are the ends of all logs. A process that was started twice has one.
func (d *demo) tails() []logTail {
	var all []logTail
	seen := make(map[string]bool)
	for _, p := range d.processes {
		if !seen[p.Log()] {
			seen[p.Log()] = true
			all = append(all, logTail{p.Name(), p.Tail(d.limits.LogLines)})
		}
	}
	return all
}

// close ends what still runs and removes the folders. After a demo that passed,
// nothing runs any more.
func (d *demo) close() error {
	var all []error
	for _, a := range []*agent{d.alice, d.bob, d.carol} {
		if a != nil && a.api != nil {
			a.api.Close()
		}
	}
	for _, p := range d.processes {
		all = append(all, p.Kill())
	}
	all = append(all, d.proxyEnds())
	if !d.cfg.Keep {
		return errors.Join(append(all, os.RemoveAll(d.dir))...)
	}
	if d.proxy != nil {
		all = append(all, d.keepRecording())
	}
	d.say.printf("kept: %s\n", d.dir)
	return errors.Join(all...)
}

// keepRecording writes what passed the proxy beside the other files.
func (d *demo) keepRecording() error {
	conns, err := d.proxy.recording()
	if err != nil {
		return err
	}
	for i, c := range conns {
		name := filepath.Join(d.dir, fmt.Sprintf("proxy-%02d", i))
		if err := errors.Join(os.WriteFile(name+"-up", c.up, 0o600), os.WriteFile(name+"-down", c.down, 0o600)); err != nil {
			return fmt.Errorf("keep the recording: %w", err)
		}
	}
	return nil
}

// serveProxy starts the proxy. It runs until proxyEnds is called, whatever becomes
// of the context of a step: a relay that is stopped in an orderly way must be able
// to say good-bye.
func (d *demo) serveProxy(target string) error {
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.proxy = newProxy(door, target, d.limits)
	ended := make(chan error, 1)
	go func() { ended <- d.proxy.Run(ctx) }()
	d.proxyEnds = func() error {
		cancel()
		d.proxyEnds = func() error { return nil }
		return <-ended
	}
	return nil
}

// makeFolder makes the folder of one demo. The nodes have sockets in it, and the
// path of a socket is short on every system, so a long $TMPDIR is not used.
func makeFolder() (string, error) {
	const longest = 60
	base := os.TempDir()
	if len(base) > longest {
		base = "/tmp"
	}
	dir, err := os.MkdirTemp(base, "amesh-demo-")
	if err != nil {
		return "", fmt.Errorf("demo: %w", err)
	}
	return dir, nil
}

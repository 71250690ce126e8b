package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"amesh/node/api"
	"amesh/testnet/plan"
	"amesh/testnet/process"
)

// children are relays and nodes that are processes of ours, with their homes in one
// folder. They end with us at the latest.
type children struct {
	dir    string // with the homes
	binary string
	limits Limits
	spawn  func(name string, c process.Config) (*process.Process, error)

	mu      sync.Mutex
	running map[string]*process.Process
	clients map[string]*api.Client
}

func newChildren(dir, binary string, l Limits) *children {
	return &children{dir: dir, binary: binary, limits: l,
		spawn:   func(_ string, c process.Config) (*process.Process, error) { return process.Start(c) },
		running: make(map[string]*process.Process), clients: make(map[string]*api.Client)}
}

// start starts one, unless it runs, waits until it is ready and decodes what it then
// printed into addrs.
func (c *children) start(ctx context.Context, name string, args []string, addrs any) error {
	if c.alive(name) {
		return nil
	}
	home := plan.Home(c.dir, name)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	file := filepath.Join(c.dir, name+".json")
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("start %s: %w", name, err)
	}
	p, err := c.spawn(name, process.Config{Name: name, Binary: c.binary,
		Args: append(args[:len(args):len(args)], "--home", home, "--print-addrs", file),
		Env:  process.Environment(home), Dir: c.dir, Log: filepath.Join(c.dir, name+".log")})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.running[name] = p
	c.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, c.limits.Ready, fmt.Errorf("not ready after %s", c.limits.Ready))
	defer cancel()
	if err := p.Ready(ctx, file, c.limits.Poll, addrs); err != nil {
		return &LogError{Err: err, Name: name, Lines: p.Tail(c.limits.LogLines)}
	}
	return nil
}

// LogError is an error of a relay or node, with the end of its log.
type LogError struct {
	Err   error
	Name  string
	Lines []string
}

func (e *LogError) Error() string { return e.Err.Error() }
func (e *LogError) Unwrap() error { return e.Err }

func (c *children) alive(name string) bool {
	c.mu.Lock()
	p := c.running[name]
	c.mu.Unlock()
	if p == nil {
		return false
	}
	select {
	case <-p.Done():
		return false
	default:
		return true
	}
}

// kill ends one with SIGKILL.
func (c *children) kill(name string) error {
	c.mu.Lock()
	p := c.running[name]
	c.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.Kill()
}

// stopAll asks all of them to end, and waits.
func (c *children) stopAll() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := make(chan error, len(c.running))
	for name, p := range c.running {
		delete(c.running, name)
		go func() {
			select {
			case <-p.Done(): // killed by a scenario, or told of when it was missed
				errs <- nil
			default:
				errs <- p.Stop(c.limits.Stop)
			}
		}()
	}
	var all []error
	for range cap(errs) {
		all = append(all, <-errs)
	}
	for _, client := range c.clients {
		client.Close()
	}
	return errors.Join(all...)
}

// client is the API of a node, by the socket in its home.
func (c *children) client(name string) (*api.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.clients[name]; known != nil {
		return known, nil
	}
	cfg, err := api.Discover(plan.Home(c.dir, name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	client := api.NewClient(cfg)
	c.clients[name] = client
	return client, nil
}

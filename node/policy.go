package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"amesh/identity"
	"amesh/knock"
	"amesh/node/api"
)

// policyFile is the owner's policy.json and the policy in force. The owner may edit
// the file at any time: it is read again when it changed, and an edit that cannot be
// understood leaves the policy before it in force. While the file is gone or empty, as
// it is for an instant when an editor replaces it, nobody new is let in and whoever
// was blocked stays blocked; when the node starts without it, the default is in force.
type policyFile struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	current *knock.Policy
	written bool // there was something in the file since the start
	seen    stamp
	bad     error
	news    chan struct{} // another policy is in force
}

// policyEvery is how often the file is looked at when nobody asks for the policy: a
// block by hand ends a live session within a second.
const policyEvery = 500 * time.Millisecond

// errPolicyGone reports a policy file in which there was something, and is not now.
var errPolicyGone = errors.New("the file is gone or empty")

// stamp tells whether a file changed; zero for none.
type stamp struct{ modified, size int64 }

// openPolicy reads the file. A missing one is the default: the owner is asked.
func openPolicy(path string, log *slog.Logger) (*policyFile, error) {
	p := &policyFile{path: path, log: log, news: make(chan struct{}, 1)}
	p.seen = p.stamp()
	policy, err := p.read()
	if err != nil {
		return nil, err
	}
	p.current = policy
	if !p.written && p.seen != (stamp{}) {
		log.Warn("the policy file is empty; the default is in force", "file", path, "strangers", policy.Strangers)
	}
	return p, nil
}

func (p *policyFile) stamp() stamp {
	info, err := os.Stat(p.path)
	if err != nil {
		return stamp{}
	}
	return stamp{modified: info.ModTime().UnixNano(), size: info.Size()}
}

// read takes the policy from the file.
func (p *policyFile) read() (*knock.Policy, error) {
	raw, err := os.ReadFile(p.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	empty := len(bytes.TrimSpace(raw)) == 0
	if empty && p.written {
		return nil, errPolicyGone
	}
	policy, err := knock.ParsePolicy(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.path, err)
	}
	p.written = !empty
	return &policy, nil
}

// watch calls changed at once, and whenever another policy is in force, until ctx ends.
func (p *policyFile) watch(ctx context.Context, changed func()) error {
	tick := time.NewTicker(policyEvery)
	defer tick.Stop()
	var last *knock.Policy
	for {
		if now := p.get(); now != last {
			last = now
			changed()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-p.news:
		}
	}
}

// enforce puts a policy in force. p.mu is held.
func (p *policyFile) enforce(policy *knock.Policy) {
	p.current = policy
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// get is the policy in force.
func (p *policyFile) get() *knock.Policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh()
	return p.current
}

func (p *policyFile) refresh() {
	now := p.stamp()
	if now == p.seen {
		return
	}
	p.seen = now
	policy, err := p.read()
	p.bad = err
	if errors.Is(err, errPolicyGone) {
		closed := *p.current
		closed.Allow = nil
		if closed.Strangers == knock.StrangersAccept {
			closed.Strangers = knock.StrangersAsk
		}
		p.enforce(&closed)
		p.log.Error("policy is gone; nobody new is let in, who was blocked stays blocked", "file", p.path)
		return
	}
	if err != nil {
		p.log.Error("policy cannot be read; the one before stays in force", "err", err)
		return
	}
	p.enforce(policy)
	p.log.Info("policy read again")
}

// trouble is why the file is not what is in force, nil when it is.
func (p *policyFile) trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh()
	return p.bad
}

// set changes one key on disk and in force. It puts a file that is gone back.
func (p *policyFile) set(key, value string) error {
	return p.change(func(now *knock.Policy) (knock.Policy, error) {
		next, err := now.Set(key, value)
		if err != nil {
			err = api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", err).
				WithHint("`amesh policy show` lists the keys")
		}
		return next, err
	})
}

// block puts a peer on the block list, or takes it off.
func (p *policyFile) block(peer identity.AMID, blocked bool) error {
	return p.change(func(now *knock.Policy) (knock.Policy, error) { return now.WithBlock(peer, blocked), nil })
}

// change puts another policy on disk and in force.
func (p *policyFile) change(f func(*knock.Policy) (knock.Policy, error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh()
	if p.bad != nil && !errors.Is(p.bad, errPolicyGone) {
		return api.Problemf(http.StatusConflict, api.CodeConflict, "policy.json is not understood: %v", p.bad).
			WithHint("mend %s first", p.path)
	}
	next, err := f(p.current)
	if err != nil {
		return err
	}
	raw, err := next.Encode()
	if err != nil {
		return err
	}
	if err := identity.ReplaceFile(p.path, raw); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			return api.Problemf(http.StatusInsufficientStorage, api.CodeStorage, "the disk is full; the policy is what it was").
				WithHint("make room and try again")
		}
		return err
	}
	p.seen, p.written, p.bad = p.stamp(), true, nil
	p.enforce(&next)
	return nil
}

// ruled reports whether there was something in the file since the start.
func (p *policyFile) ruled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.written
}

// view is the policy as the API shows it.
func (p *policyFile) view(agent string) (api.Policy, error) {
	policy := p.get()
	raw, err := policy.Encode()
	if err != nil {
		return api.Policy{}, err
	}
	v := api.Policy{Agent: agent, File: p.path, Ignored: policy.Ignored, Version: policy.Version(), Default: !p.ruled()}
	if err := json.Unmarshal(raw, &v.Rules); err != nil {
		return api.Policy{}, err
	}
	for _, key := range policy.Ignored {
		delete(v.Rules, key)
	}
	return v, nil
}

package node

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"amesh/knock"
	"amesh/node/api"
)

// policyFile is the owner's policy.json and the policy in force. The owner may edit
// the file at any time: it is read again when it changed, and an edit that cannot be
// understood leaves the policy before it in force.
type policyFile struct {
	path string
	log  *slog.Logger

	mu      sync.Mutex
	current *knock.Policy
	changed time.Time
	size    int64
	bad     error
}

// openPolicy reads the file. A missing one is the default: the owner is asked.
func openPolicy(path string, log *slog.Logger) (*policyFile, error) {
	p := &policyFile{path: path, log: log}
	p.changed, p.size = p.stamp()
	policy, err := knock.LoadPolicy(path)
	if err != nil {
		return nil, err
	}
	p.current = &policy
	return p, nil
}

func (p *policyFile) stamp() (time.Time, int64) {
	info, err := os.Stat(p.path)
	if err != nil {
		return time.Time{}, 0
	}
	return info.ModTime(), info.Size()
}

// get is the policy in force.
func (p *policyFile) get() *knock.Policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh()
	return p.current
}

func (p *policyFile) refresh() {
	changed, size := p.stamp()
	if changed.Equal(p.changed) && size == p.size {
		return
	}
	p.changed, p.size = changed, size
	policy, err := knock.LoadPolicy(p.path)
	if p.bad = err; err != nil {
		p.log.Error("policy not understood; the one before stays in force", "err", err)
		return
	}
	p.current = &policy
	p.log.Info("policy read again")
}

// trouble is why the file is not what is in force, nil when it is.
func (p *policyFile) trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh()
	return p.bad
}

// set changes one key on disk and in force.
func (p *policyFile) set(key, value string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh()
	if p.bad != nil {
		return api.Problemf(http.StatusConflict, api.CodeConflict, "policy.json is not understood: %v", p.bad).
			WithHint("mend %s first", p.path)
	}
	next, err := p.current.Set(key, value)
	if err != nil {
		return api.Problemf(http.StatusBadRequest, api.CodeInvalid, "%v", err).
			WithHint("`amesh policy show` lists the keys")
	}
	raw, err := next.Encode()
	if err != nil {
		return err
	}
	if err := writeFile(p.path, raw); err != nil {
		return err
	}
	p.changed, p.size = p.stamp()
	p.current = &next
	return nil
}

// view is the policy as the API shows it.
func (p *policyFile) view(agent string) (api.Policy, error) {
	policy := p.get()
	raw, err := policy.Encode()
	if err != nil {
		return api.Policy{}, err
	}
	v := api.Policy{Agent: agent, File: p.path, Ignored: policy.Ignored, Version: policy.Version()}
	if err := json.Unmarshal(raw, &v.Rules); err != nil {
		return api.Policy{}, err
	}
	for _, key := range policy.Ignored {
		delete(v.Rules, key)
	}
	return v, nil
}

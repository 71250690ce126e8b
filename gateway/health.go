package gateway

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/schema"
	"amesh/gateway/store"
)

// healthSubject says how the gateway is.
func (s *Server) healthSubject() {
	s.routes = append(s.routes,
		route{method: http.MethodGet, path: "/health", may: anyone, answer: s.health, early: true},
		route{method: http.MethodGet, path: "/livez", may: anyone, answer: s.health, early: true},
		route{method: http.MethodGet, path: "/ready", may: anyone, answer: s.readiness, early: true},
	)
}

// Words for the state of a part.
const (
	isReady         = "ready"
	isNotReady      = "not_ready"
	isHealthy       = "healthy"
	isStarting      = "starting"
	isNotConfigured = "not_configured"
)

// health says that the process lives; its database need not.
func (s *Server) health(r *request) (reply, error) {
	state := isHealthy
	if r.parts == nil {
		state = isStarting
	}
	components := map[string]string{
		"router": isHealthy, "message_processor": state, "agent_registry": state, "discovery_service": isHealthy, "schema_manager": state,
	}
	if r.parts != nil && !r.schemas.Configured() {
		components["schema_manager"] = isNotConfigured
	}
	return reply{body: struct {
		Status     string            `json:"status"`
		Healthy    bool              `json:"healthy"`
		Timestamp  time.Time         `json:"timestamp"`
		Version    string            `json:"version"`
		Components map[string]string `json:"components"`
	}{isHealthy, true, r.now.UTC(), amtp.Version, components}}, nil
}

// readiness says whether messages are taken now, by asking those who take part.
func (s *Server) readiness(r *request) (reply, error) {
	found := s.probes.now(r.Context(), s, r)
	body := struct {
		Status       string            `json:"status"`
		Ready        bool              `json:"ready"`
		Timestamp    time.Time         `json:"timestamp"`
		Version      string            `json:"version"`
		Dependencies map[string]string `json:"dependencies"`
	}{isReady, true, r.now.UTC(), amtp.Version, found}
	for _, state := range found {
		if state == isNotReady {
			body.Status, body.Ready = isNotReady, false
		}
	}
	status := http.StatusOK
	if !body.Ready {
		status = http.StatusServiceUnavailable
	}
	return reply{status: status, body: body}, nil
}

// probe asks one part whether it works.
type probe struct {
	name string
	ask  func(context.Context) error
}

// probes are the answers of the parts. Everybody may ask for them, so they are kept for a
// moment.
type probes struct {
	mu    sync.Mutex
	at    time.Time
	found map[string]string
}

// probeLife is how long an answer of the parts counts.
const probeLife = time.Second

// now asks again when the last answers are over. One asks for all, and nobody who goes away
// ends it for the others.
func (p *probes) now(ctx context.Context, s *Server, r *request) map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil && r.now.Sub(p.at).Abs() < probeLife {
		return p.found
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.limits.ProbeWait)
	defer cancel()
	list := partsToProbe(r.parts)
	states := make([]string, len(list))
	var asked sync.WaitGroup
	for i, part := range list {
		asked.Go(func() {
			states[i] = isReady
			if err := part.ask(ctx); err != nil {
				states[i] = isNotReady
				s.log.Debug("not ready", "part", part.name, "err", err)
			}
		})
	}
	asked.Wait()
	found := map[string]string{"validator": isReady, "discovery_service": isReady, "schema_manager": isNotConfigured}
	for i, part := range list {
		found[part.name] = states[i]
	}
	p.at, p.found = r.now, found
	return found
}

// partsToProbe are those that have to work for messages to be taken. Other domains' gateways
// and their DNS are none of them: a message to them waits in the queue.
func partsToProbe(p *parts) []probe {
	if p == nil {
		starting := func(context.Context) error { return errStarting }
		return []probe{{"database", starting}, {"message_processor", starting}, {"agent_registry", starting}}
	}
	list := []probe{
		{"database", p.store.Probe},
		{"message_processor", func(ctx context.Context) error { return p.store.Finish(ctx, probeOutcome) }},
		{"agent_registry", p.agents.Load},
	}
	if p.schemas.Configured() {
		list = append(list, probe{"schema_manager", func(ctx context.Context) error {
			_, err := p.schemas.Get(ctx, schema.ID{Domain: "probe", Entity: "probe", Version: 1})
			if errors.Is(err, schema.ErrNotFound) {
				return nil
			}
			return err
		}})
	}
	return list
}

var errStarting = errors.New("the gateway is starting, or its database is away")

// probeOutcome is what came of no message: written down, it goes the way of every message
// that is accepted, and changes nothing.
var probeOutcome = []store.Outcome{{MessageID: "00000000-0000-7000-8000-000000000000", State: amtp.Retrying, Untried: true}}

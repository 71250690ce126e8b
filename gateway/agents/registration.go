package agents

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"amesh/gateway/schema"
	"amesh/gateway/store"
	"amesh/internal/outward"
)

// Registration is what an administrator says of a new agent.
type Registration struct {
	Address      string            `json:"address"` // a name, or a full address of our domain
	Mode         string            `json:"delivery_mode"`
	PushTarget   string            `json:"push_target"`
	Headers      map[string]string `json:"headers"` // sent with every push
	Schemas      []string          `json:"supported_schemas"`
	Key          string            `json:"api_key"` // empty: one is made
	KeyExpires   time.Time         `json:"api_key_expires_at"`
	Role         string            `json:"role"`
	Description  string            `json:"description"`
	Capabilities []string          `json:"capabilities"`
}

// Change is what an administrator changes about an agent; nil leaves as it is. An agent's
// name never changes, and its key only by Rotate.
type Change struct {
	Mode         *string            `json:"delivery_mode"`
	PushTarget   *string            `json:"push_target"`
	Headers      *map[string]string `json:"headers"`
	Schemas      *[]string          `json:"supported_schemas"`
	Role         *string            `json:"role"`
	Description  *string            `json:"description"`
	Capabilities *[]string          `json:"capabilities"`
	// NewSecret replaces the key that signs what is pushed.
	NewSecret bool `json:"new_push_secret"`
}

// Schemas is what must be known of schemas here.
type Schemas interface {
	// Known reports whether a registry has the schema with this id. It is true for every id
	// where there is no registry.
	Known(ctx context.Context, id string) (bool, error)
}

// apply puts a change on an agent.
func (c Change) apply(a *store.Agent) {
	if c.Mode != nil {
		a.Mode = store.Mode(*c.Mode)
	}
	if c.PushTarget != nil {
		a.PushTarget = *c.PushTarget
	}
	if c.Headers != nil {
		a.Headers = *c.Headers
	}
	if c.Schemas != nil {
		a.Schemas = *c.Schemas
	}
	if c.Role != nil {
		a.Role = *c.Role
	}
	if c.Description != nil {
		a.Description = *c.Description
	}
	if c.Capabilities != nil {
		a.Capabilities = *c.Capabilities
	}
}

// check completes an agent, or says what is wrong with it. Its schemas were looked at before.
func (d *Directory) check(a *store.Agent) error {
	switch a.Mode {
	case store.Pull:
		if a.PushTarget != "" {
			return invalid("push_target has no meaning with delivery_mode pull")
		}
	case store.Push:
		if err := d.checkTarget(a.PushTarget); err != nil {
			return err
		}
	default:
		return invalid("delivery_mode must be push or pull")
	}
	if err := checkHeaders(a.Headers); err != nil {
		return err
	}
	a.RequiresSchema = len(a.Schemas) > 0
	if err := checkText("role", a.Role, MaxRole); err != nil {
		return err
	}
	if err := checkText("description", a.Description, MaxDescription); err != nil {
		return err
	}
	if len(a.Capabilities) > MaxCapabilities {
		return invalid("capabilities: more than %d", MaxCapabilities)
	}
	for _, c := range a.Capabilities {
		if err := checkText("capabilities", c, MaxCapability); err != nil || c == "" {
			return invalid("capabilities: want words of 1 to %d characters", MaxCapability)
		}
	}
	return nil
}

func checkText(what, s string, longest int) error {
	if len(s) > longest {
		return invalid("%s is longer than %d bytes", what, longest)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r == '\uFFFD' }) {
		return invalid("%s has control characters", what)
	}
	return nil
}

// checkTarget says what is wrong with a push target's text. Whether a name's address may be
// contacted is asked when it is, since names can change what they mean.
func (d *Directory) checkTarget(s string) error {
	if s == "" {
		return invalid("push_target is required for delivery_mode push: the URL to which messages are posted")
	}
	u, err := url.Parse(s)
	if err != nil || len(s) > MaxTarget || u.Hostname() == "" || u.Opaque != "" {
		return invalid("push_target is no URL such as https://agent.example/inbox")
	}
	if u.User != nil || u.Fragment != "" {
		return invalid("push_target must have neither a user name nor a fragment: credentials go into headers")
	}
	if err := checkScheme(u, d.cfg.PlainTargets); err != nil || d.cfg.Contact == nil {
		return err
	}
	if err := d.cfg.Contact(s); err != nil {
		why := err.Error()
		if blocked, ok := errors.AsType[*outward.BlockedError](err); ok {
			why = blocked.Why
		}
		return invalid("push_target would not be contacted: %s. push.internal=true lets targets be inside, on every port; outward.allow names single networks", why)
	}
	return nil
}

func checkScheme(u *url.URL, plain bool) error {
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && (plain || onThisMachine(u.Hostname())):
	case u.Scheme == "http":
		return invalid("push_target must be https, except on this machine")
	default:
		return invalid("push_target must be https")
	}
	return nil
}

func onThisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// ours are headers of a push that only the gateway writes.
var ours = []string{"host", "content-length", "content-type", "content-encoding", "connection", "keep-alive", "proxy-connection",
	"proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade", "expect"}

func checkHeaders(headers map[string]string) error {
	if len(headers) > MaxHeaders {
		return invalid("headers: more than %d", MaxHeaders)
	}
	seen := make(map[string]bool, len(headers))
	for name, value := range headers {
		lower := strings.ToLower(name)
		switch {
		case name == "" || len(name) > MaxHeaderName || strings.ContainsFunc(name, func(r rune) bool { return !tokenChar(r) }):
			return invalid("headers: %.70q is no header name", name)
		case seen[lower]:
			return invalid("headers: %q stands there twice", name)
		case slices.Contains(ours, lower) || strings.HasPrefix(lower, "x-amtp-"):
			return invalid("headers: %q is the gateway's own", name)
		case len(value) > MaxHeaderValue || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }):
			return invalid("headers: the value of %q must be printable ASCII, of at most %d characters", name, MaxHeaderValue)
		}
		seen[lower] = true
	}
	return nil
}

// tokenChar reports whether a header's name may have a character (RFC 9110 §5.6.2).
func tokenChar(r rune) bool {
	return r < 0x80 && (nameChar(byte(r)) || strings.ContainsRune("!#$%&'*+^`|~", r))
}

// checkSchemas takes ids of schemas, which must be known, and patterns such as agntcy:shop.*. It
// may ask a registry far away, and so is not called while the directory is held.
func (d *Directory) checkSchemas(ctx context.Context, list []string) error {
	if len(list) > MaxSchemas {
		return invalid("supported_schemas: more than %d", MaxSchemas)
	}
	for _, text := range list {
		takes, err := schema.ParseSupported(text)
		if err != nil {
			return invalid("supported_schemas: %v", err)
		}
		if takes.Wildcard() || d.cfg.Schemas == nil {
			continue
		}
		known, err := d.cfg.Schemas.Known(ctx, text)
		if err != nil {
			return fmt.Errorf("schema %s: %w", text, err)
		}
		if !known {
			return invalid("supported_schemas: %s is not in the schema registry: register it first, or use a pattern", text)
		}
	}
	return nil
}

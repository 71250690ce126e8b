package gateway_test

import (
	"context"
	"maps"
	"path/filepath"
	"testing"
	"time"

	"amesh/gateway"
	"amesh/gateway/auth"
	"amesh/gateway/gatewaytest"
	"amesh/gateway/store"
)

// asAgentry is what --compat agentry makes of a configuration, but that answers wait
// until another gateway has answered: what is compared must not depend on who is
// quicker.
func asAgentry(t *testing.T) func(*gateway.Config) {
	return func(c *gateway.Config) {
		c.Admins, c.AdminOpen = nil, true
		c.PublicReads, c.PublicAgents, c.TakeUnknown, c.FirstAnswer = true, true, true, true
		c.Auth.LocalSenders, c.Rates.Off, c.Inbox.EmptyIsNull = gateway.NoKey, true, true
		c.AnyOrigin = true
		c.DerivedWindow = 24 * time.Hour
		c.StatusCodes = gateway.AsAgentry
		c.RemoteWait, c.Delivery.MinRetry = 2*time.Second, time.Hour
		c.Agents.ShortKeys, c.Agents.PlainTargets = true, true
		c.Metrics = false
		c.Open = func(ctx context.Context) (*store.Store, error) { return store.OpenMemory(ctx, t.TempDir()) }
	}
}

// The recordings of agentry are answered by us as it answered them, but for what is
// meant to differ.
func TestGoldenCasesAreAnsweredAsRecorded(t *testing.T) {
	w := &world{url: map[string]string{}, foreign: newForeign(t)}
	start := func(name string, more func(*gateway.Config)) {
		n := gatewaytest.StartWith(t, func(c *gateway.Config) {
			asAgentry(t)(c)
			if more != nil {
				more(c)
			}
		}, goldenDomains[name])
		w.url[name] = n.At(goldenDomains[name]).URL
	}
	start("B", nil)
	start("F", nil)
	start("M", nil)
	start("C", func(c *gateway.Config) {
		keys := filepath.Join(t.TempDir(), "admin.keys")
		write(t, keys, goldenAdminKey+"\n")
		c.Admins, c.AdminOpen = auth.NewAdminKeys(keys, time.Now), false
		c.Metrics = true
		withSchemas(c)
	})
	start("D", withSchemas)
	start("A", func(c *gateway.Config) {
		own := c.Discovery.MockRecords["a.local"]
		maps.Copy(c.Discovery.MockRecords, w.records())
		c.Discovery.MockRecords["a.local"] = own + ";auth=apikey;max-size=10485760;features=agent-discovery"
	})
	judge(t, play(t, w), intended, everywhere)
}

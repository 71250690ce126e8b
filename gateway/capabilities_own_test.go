package gateway_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"

	"amesh/gateway"
	"amesh/gateway/discovery"
	"amesh/gateway/gatewaytest"
	"amesh/gateway/peer"
)

type capabilities struct {
	Version, Gateway string
	MaxSize          int64 `json:"max_size"`
	Schemas          []string
	Features         []string
	TTL              int64
}

// Golden 085, checklist 13: our own are the schemas of all agents, while agents come and go.
func TestOwnCapabilitiesHaveTheSchemasOfAllAgents(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	var wg sync.WaitGroup
	for _, name := range []string{"one", "two", "three"} {
		wg.Go(func() {
			g.Register(name, "supported_schemas", []string{"agntcy:shop.order.v1", "agntcy:" + name + ".*"})
		})
		wg.Go(func() {
			var got capabilities
			g.Do(http.MethodGet, "/v1/capabilities/a.test", nil).Want(http.StatusOK).Into(&got)
		})
	}
	wg.Wait()
	var got capabilities
	g.Do(http.MethodGet, "/v1/capabilities/A.TEST", nil).Want(http.StatusOK).Into(&got)
	want := []string{"agntcy:one.*", "agntcy:shop.order.v1", "agntcy:three.*", "agntcy:two.*"}
	if !slices.Equal(got.Schemas, want) || got.Version != "1.0" || got.Gateway != g.URL || got.TTL != 300_000_000_000 {
		t.Errorf("%+v, want schemas %q", got, want)
	}
}

func TestOwnCapabilitiesNeedNoDNS(t *testing.T) {
	t.Parallel()
	g := gatewaytest.StartWith(t, func(c *gateway.Config) { c.Discovery = discovery.Config{Resolvers: []string{"127.0.0.1:1"}} }, "a.test").At("a.test")
	var got capabilities
	g.Do(http.MethodGet, "/v1/capabilities/a.test", nil).Want(http.StatusOK).Into(&got)
	if got.Gateway != "https://a.test" || got.MaxSize != 10<<20 || !slices.Contains(got.Features, peer.FeaturePerRecipient) {
		t.Errorf("%+v", got)
	}
	g.Do(http.MethodGet, "/v1/capabilities/b.test", nil).Want(http.StatusNotFound)
}

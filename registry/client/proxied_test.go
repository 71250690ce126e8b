package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"amesh/internal/proxy"
	"amesh/internal/proxy/proxytest"
)

func TestRegistryBehindAProxy(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler()) // as a registry of 0.2 answers what it does not know
	defer web.Close()
	const url = "http://registry.test"
	between := proxytest.HTTP(t, map[string]string{"registry.test:80": web.Listener.Addr().String()})
	p, err := proxy.New(proxy.Config{Setting: "http://ann:secret@" + between.Addr, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{URL: url, Dial: p.Dialer(url, nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	between.Require("ann:secret")
	if kind, err := c.Learn(context.Background()); err != nil || kind != KindLegacy {
		t.Errorf("%s, %v", kind, err)
	}
	c.Close()
	between.Cut()
	between.Require("ann:another")
	_, err = c.Stats(context.Background())
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), between.Addr) || strings.Contains(err.Error(), "secret") {
		t.Errorf("a proxy that wants others: %v", err)
	}
}

package main

import (
	"log/slog"
	"testing"

	"github.com/libp2p/go-libp2p/gologshim"
)

func TestLibp2pIsQuiet(t *testing.T) {
	quietLibp2p(func(string) string { return "" })
	if gologshim.Logger("swarm2").Enabled(t.Context(), slog.LevelError) {
		t.Error("libp2p writes its errors to standard error")
	}
}

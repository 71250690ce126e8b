// Package metrics has the numbers of a relay for Prometheus (internal/exporter).
package metrics

import (
	"errors"
	"log/slog"

	"amesh/internal/exporter"
	"amesh/internal/ice"
	"amesh/relay"
)

// Config says whose numbers are shown.
type Config struct {
	// Relay counts what the server does. Required.
	Relay func() relay.Stats
	// STUN counts what the STUN server does; nil if there is none.
	STUN func() ice.STUNCounts
	// Logger gets what goes wrong; nil is silence.
	Logger *slog.Logger
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*exporter.Exporter, error) {
	if cfg.Relay == nil {
		return nil, errors.New("metrics need a relay")
	}
	return exporter.New(collector{cfg}, cfg.Logger)
}

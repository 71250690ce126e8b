//go:build !linux

package wiring

import "net/netip"

// TakeAddress returns ErrUnsupported.
func TakeAddress(netip.Prefix, netip.Addr) error { return ErrUnsupported }

// MakeTun returns ErrUnsupported.
func MakeTun() error { return ErrUnsupported }

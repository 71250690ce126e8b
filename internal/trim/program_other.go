//go:build !linux

package trim

func program() error { return errUnsupported }

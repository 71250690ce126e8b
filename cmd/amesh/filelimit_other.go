//go:build !unix

package main

// fileLimit is unknown here.
func fileLimit() (int, bool) { return 0, false }

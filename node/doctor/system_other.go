//go:build !unix

package doctor

// fileLimit is not known here.
func fileLimit() (int, bool) { return 0, false }

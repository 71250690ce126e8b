//go:build !linux

package natbox

import (
	"context"
	"fmt"
	"runtime"
)

// Run returns ErrUnsupported at once.
func (b *Box) Run(context.Context) error {
	return fmt.Errorf("natbox: %w, this is %s", ErrUnsupported, runtime.GOOS)
}

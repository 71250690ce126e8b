// Package wiring is what a box does in its container before it is one: it takes the
// address of the gateway, which Docker tells everybody but gives nobody, and makes the
// device with which packets are delayed. It needs CAP_NET_ADMIN, and CAP_MKNOD for the
// device; namespaces that are made by hand need none of it.
package wiring

import "errors"

// ErrUnsupported says that this system has no containers of that kind.
var ErrUnsupported = errors.New("a box needs Linux")

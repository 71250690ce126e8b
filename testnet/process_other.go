//go:build !linux

package testnet

import "syscall"

// dieWithParent is nothing where the kernel has no such thing: a demo that is
// killed leaves its processes behind there.
func dieWithParent() *syscall.SysProcAttr { return nil }

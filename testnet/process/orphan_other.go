//go:build !linux

package process

import "syscall"

// DieWithParent is nothing where the kernel has no such thing: a parent that is
// killed leaves its processes behind there.
func DieWithParent() *syscall.SysProcAttr { return nil }

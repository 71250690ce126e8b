package process

import "syscall"

// DieWithParent has the kernel kill the child when its parent is killed and
// cannot clean up. Linux counts the end of the thread that started the child as
// the end of the parent, see Start. A process group of its own keeps the
// child from the terminal's Ctrl-C: it is the parent that ends its children.
func DieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

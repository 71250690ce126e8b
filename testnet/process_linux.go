package testnet

import "syscall"

// dieWithParent has the kernel kill the child when the demo itself is killed and
// cannot clean up. Linux counts the end of the thread that started the child as
// the end of the parent, see startProcess. A process group of its own keeps the
// child from the terminal's Ctrl-C: it is the demo that ends its children.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

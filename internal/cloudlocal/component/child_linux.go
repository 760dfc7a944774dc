package component

import "syscall"

// bound ties a child to this process: the system kills it when this process dies. A process group of its own keeps the
// terminal's Ctrl-C from it, so that it is this process that ends it, in order.
func bound() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

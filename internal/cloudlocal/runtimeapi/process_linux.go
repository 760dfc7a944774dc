package runtimeapi

import "syscall"

// processAttributes let a sandbox die with this process, however that ends, and keep the terminal's signals from it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

//go:build unix && !linux

package runtimeapi

import "syscall"

// processAttributes keep the terminal's signals from a sandbox. Only Linux can also have it die with this process.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

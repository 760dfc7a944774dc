//go:build !linux

package component

import "syscall"

// bound would tie a child to this process; only Linux can.
func bound() *syscall.SysProcAttr { return nil }

//go:build unix

package runtimeapi

import "syscall"

func platformError() error { return nil }

// freeze stops every thread of the process; its time stands still until thaw. A process that is gone needs neither.
func (s *sandbox) freeze() { _ = s.cmd.Process.Signal(syscall.SIGSTOP) }

func (s *sandbox) thaw() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }

//go:build !unix

package runtimeapi

import (
	"errors"
	"syscall"
)

func platformError() error {
	return errors.New("this system cannot freeze a process between invocations: use Linux or macOS")
}

func processAttributes() *syscall.SysProcAttr { return nil }

func (s *sandbox) freeze() {}

func (s *sandbox) thaw() {}

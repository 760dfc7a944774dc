package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// lockFile is held by the server that uses a data directory.
const lockFile = "lock"

// lockData makes the data directory if need be and takes it for this process, until the lock is given back or the process
// ends. It fails when another server has it.
func lockData(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("taking the data directory %s: %w", dir, err)
	}
	if !ok {
		return nil, fmt.Errorf("another palier is using the data directory %s; stop it, or choose another with --data", dir)
	}
	return lock, nil
}

// clearData removes what is in a data directory that this process has taken.
func clearData(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("clearing %s: %w", dir, err)
	}
	for _, e := range entries {
		if e.Name() == lockFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("clearing %s: %w", dir, err)
		}
	}
	return nil
}

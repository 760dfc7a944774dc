package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// What a server keeps in its data directory.
const (
	storeFile  = "palier.db"
	streamFile = "telemetry.db"
	clockFile  = "clock.json"
	tokenFile  = "token"
	objectsDir = "objects" // what is too large for the store
	lockFile   = "lock"    // held by the server that uses the directory
)

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

// clearData removes what a server keeps in a data directory that this process has taken, and nothing else.
func clearData(dir string) error {
	for _, pattern := range []string{storeFile + "*", streamFile + "*", clockFile, tokenFile, objectsDir} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return fmt.Errorf("clearing %s: %w", dir, err)
		}
		for _, name := range names {
			if err := os.RemoveAll(name); err != nil {
				return fmt.Errorf("clearing %s: %w", dir, err)
			}
		}
	}
	return nil
}

// replaceFile writes a file that only its owner may read, whole or not at all, whenever the process ends.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // does nothing once it is renamed
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

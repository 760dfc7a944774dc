package component

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

//go:embed servers
var embedded embed.FS

const nodeRemedy = "install Node.js 20 or newer with npm: https://nodejs.org"

// installed returns the folder of an installation and makes it if it is not there: build fills an empty folder, which
// then becomes dir/name. Of several processes that ask at once, one builds and the others wait.
func installed(ctx context.Context, o Options, name string, build func(ctx context.Context, dir string) error) (string, error) {
	dir := filepath.Join(o.Dir, name)
	if exists(dir) {
		return dir, nil
	}
	lock := flock.New(dir + ".lock")
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return "", fmt.Errorf("wait for another installation of %s: %w", name, err)
	}
	defer func() { _ = lock.Unlock() }()
	if exists(dir) {
		return dir, nil
	}
	began := time.Now()
	o.Log.Info("installing a component; this is done once", "component", name, "folder", dir)
	if err := replace(ctx, dir, build); err != nil {
		return "", fmt.Errorf("install %s: %w", name, err)
	}
	o.Log.Info("component installed", "component", name, "took", time.Since(began).Round(time.Millisecond))
	return dir, nil
}

// replace builds in a folder beside dir and renames it to dir when it is whole. The caller holds dir's lock.
func replace(ctx context.Context, dir string, build func(ctx context.Context, dir string) error) error {
	half := dir + ".part"
	if err := os.RemoveAll(half); err != nil { // left by an installer that was killed
		return err
	}
	if err := os.Mkdir(half, 0o700); err != nil {
		return err
	}
	if err := build(ctx, half); err != nil {
		return errors.Join(err, os.RemoveAll(half))
	}
	return os.Rename(half, dir)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// packages returns the folder of the npm packages and of loopback.js.
func packages(ctx context.Context, o Options, component string) (dir string, err error) {
	return npm(ctx, o, "npm", component, servers(), "package.json", "package-lock.json", "loopback.js")
}

// Packages installs the npm packages that package.json and package-lock.json in files name, once on a machine, and returns
// the folder that then has node_modules. What needs them is a short word, which the folder is named after. A missing npm is
// a *MissingError.
func Packages(ctx context.Context, opts Options, component string, files fs.FS) (dir string, err error) {
	o, err := opts.settled()
	if err != nil {
		return "", err
	}
	return npm(ctx, o, component, component, files, "package.json", "package-lock.json")
}

// npm installs npm packages into a folder that has the names of files.
func npm(ctx context.Context, o Options, folder, component string, files fs.FS, names ...string) (dir string, err error) {
	program, err := lookUp("npm", component, nodeRemedy)
	if err != nil {
		return "", err
	}
	name, err := versioned(folder, files, names...)
	if err != nil {
		return "", err
	}
	return installed(ctx, o, name, func(ctx context.Context, dir string) error {
		if err := unpack(dir, files, names...); err != nil {
			return err
		}
		return run(exec.CommandContext(ctx, program, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"), dir)
	})
}

// servers are the files that the servers of this package need.
func servers() fs.FS {
	files, err := fs.Sub(embedded, "servers")
	if err != nil { // only for a name that is no path
		panic(err)
	}
	return files
}

// versioned is a folder name that changes when one of the files does.
func versioned(name string, files fs.FS, names ...string) (string, error) {
	sum := sha256.New()
	for _, file := range names {
		data, err := fs.ReadFile(files, file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", file, len(data), data)
	}
	return name + "-" + hex.EncodeToString(sum.Sum(nil)[:6]), nil
}

// unpack writes files into dir.
func unpack(dir string, files fs.FS, names ...string) error {
	for _, file := range names {
		data, err := fs.ReadFile(files, file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// run runs a command of an installation in dir; its output is part of the error.
func run(cmd *exec.Cmd, dir string) error {
	cmd.Dir = dir
	said := newOutput(io.Discard)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w%s", filepath.Base(cmd.Path), err, said.quoted())
	}
	return nil
}

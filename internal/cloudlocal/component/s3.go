package component

import (
	"context"
	"crypto/rand"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// The source that S3 is built from: a module, its version, and the hash by which go.sum would know it.
const (
	gatewayModule  = "github.com/versity/versitygw"
	gatewayVersion = "v1.8.0"
	gatewaySum     = "h1:au+wI+aybno/STsQiSm35Uu6Q6iK5MWReQxgO6SEMFc="

	goRemedy = "install Go 1.26 or newer: https://go.dev/dl/"
)

// S3Options are the options of S3.
type S3Options struct {
	Options
	// Data is the folder for buckets and objects, made if it is not there; "" is a temporary one, removed with the
	// server. The objects of a bucket are files in Data/buckets/BUCKET.
	Data string
	// AccessKey and Secret are those of the owner of all buckets; empty ones are drawn at random.
	AccessKey, Secret string
	// Users are further access keys and their secrets. Each may do everything: who may do what is for package guard
	// to say. They are needed because this server, unlike the others, checks signatures.
	Users map[string]string
}

// S3 runs versitygw, a server of the S3 API on a folder. Its clients must use the path style (Options.UsePathStyle) and
// sign without a session token, which it does not know. ctx bounds the installation, which compiles the server from
// source and takes a minute or two once, and the start; the server then runs until Close. What S3 keeps beside an
// object, versitygw keeps in files of their own, so that any file system will do.
func S3(ctx context.Context, opts S3Options) (*Server, error) {
	const name = "S3"
	o, err := opts.settled()
	if err != nil {
		return nil, err
	}
	dir, err := installed(ctx, o.Options, "versitygw-"+gatewayVersion, buildGateway)
	if err != nil {
		return nil, err
	}
	cleanup, err := o.makeFolders()
	if err != nil {
		return nil, wrap(name, "make the folders of", err)
	}
	s, err := o.start(ctx, name, filepath.Join(dir, program("versitygw")))
	if err != nil {
		cleanup()
		return nil, err
	}
	s.cleanup = sync.OnceFunc(cleanup)
	s.AccessKey, s.Secret = o.AccessKey, o.Secret
	return s, nil
}

func (o S3Options) settled() (S3Options, error) {
	if o.AccessKey == "" {
		o.AccessKey = "K" + rand.Text()[:19] // the size of AWS's own
	}
	if o.Secret == "" {
		o.Secret = (rand.Text() + rand.Text())[:40]
	}
	common, err := o.Options.settled()
	o.Options = common
	return o, err
}

// buildGateway compiles the server into dir and checks that it is the source that was meant.
func buildGateway(ctx context.Context, dir string) error {
	compiler, err := lookUp("go", "S3", goRemedy)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, compiler, "install", "-trimpath", "-ldflags=-s -w",
		gatewayModule+"/cmd/versitygw@"+gatewayVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
	if err := run(cmd, dir); err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(filepath.Join(dir, program("versitygw")))
	if err != nil {
		return err
	}
	if info.Main.Sum != gatewaySum {
		return fmt.Errorf("%s %s has the hash %s, not %s", gatewayModule, gatewayVersion, info.Main.Sum, gatewaySum)
	}
	return nil
}

// program is the file name of a compiled program.
func program(name string) string {
	if runtime.GOOS == "windows" {
		return name + ".exe"
	}
	return name
}

// makeFolders makes what the server keeps its data in, and returns how to remove it again.
func (o *S3Options) makeFolders() (cleanup func(), err error) {
	cleanup = func() {}
	if o.Data == "" {
		if o.Data, err = os.MkdirTemp("", "palier-s3-*"); err != nil {
			return nil, err
		}
		cleanup = func() { _ = os.RemoveAll(o.Data) }
	}
	for _, dir := range []string{o.buckets(), o.metadata(), o.users()} {
		err = errors.Join(err, os.MkdirAll(dir, 0o700))
	}
	if err = errors.Join(err, o.writeUsers()); err != nil {
		cleanup()
		return nil, err
	}
	return cleanup, nil
}

func (o *S3Options) buckets() string  { return filepath.Join(o.Data, "buckets") }
func (o *S3Options) metadata() string { return filepath.Join(o.Data, "metadata") }
func (o *S3Options) users() string    { return filepath.Join(o.Data, "users") }

// writeUsers writes the file from which versitygw reads its accounts.
func (o *S3Options) writeUsers() error {
	type account struct {
		Access string `json:"access"`
		Secret string `json:"secret"`
		Role   string `json:"role"`
	}
	accounts := make(map[string]account, len(o.Users))
	for key, secret := range o.Users {
		accounts[key] = account{Access: key, Secret: secret, Role: "admin"}
	}
	data, err := json.Marshal(map[string]any{"accessAccounts": accounts})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.users(), "users.json"), data, 0o600)
}

// start starts the server on a free port.
func (o *S3Options) start(ctx context.Context, name, gateway string) (*Server, error) {
	return startOnFreePort(ctx, o.Options, func(address string) launch {
		cmd := exec.Command(gateway, "--quiet", "--port", address, "--region", Region, "--iam-dir", o.users(),
			"posix", "--sidecar", o.metadata(), o.buckets())
		cmd.Dir = o.Data
		cmd.Env = environment("ROOT_ACCESS_KEY_ID="+o.AccessKey, "ROOT_SECRET_ACCESS_KEY="+o.Secret) // not for ps to see
		return launch{name: name, command: cmd, url: "http://" + address, answers: o.answers, patience: 3 * time.Second}
	})
}

func (o *S3Options) answers(ctx context.Context, url string) error {
	client := s3.New(s3.Options{
		BaseEndpoint: &url, Region: Region, UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(o.AccessKey, o.Secret, ""),
	})
	_, err := client.ListBuckets(ctx, nil)
	return err
}

package template

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// office is a checkout with the deployment scripts, in which every program they call only says that it was called.
type office struct {
	t      *testing.T
	folder string
}

func newOffice(t *testing.T, programs ...string) office {
	t.Helper()
	o := office{t, t.TempDir()}
	if err := os.CopyFS(filepath.Join(o.folder, "infra"), os.DirFS(filepath.Join(root, "infra"))); err != nil {
		t.Fatal(err)
	}
	o.write("Makefile", "build:\n\t@:\n", 0o644)
	o.write("bin/palier", "#!/bin/sh\nprintf '{\\n  \"token\": \"plr_secret\",\\n  \"sha256\": \"00\"\\n}\\n'\n", 0o755)
	for _, tool := range strings.Fields("awk bash cat cut dirname grep make mkdir mktemp rm sed sh sha256sum shasum tr") {
		if path, err := exec.LookPath(tool); err == nil {
			o.link(path, filepath.Join("path", tool))
		}
	}
	for _, p := range programs {
		o.write("path/"+p, "#!/bin/sh\necho CALL "+p+" $*\ncat \"$3\" 2>/dev/null | grep ^parameter_overrides || true\n", 0o755)
	}
	return o
}

func (o office) write(name, body string, mode os.FileMode) {
	o.t.Helper()
	path := filepath.Join(o.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(body), mode); err != nil {
		o.t.Fatal(err)
	}
}

func (o office) link(path, name string) {
	o.t.Helper()
	if err := os.MkdirAll(filepath.Join(o.folder, filepath.Dir(name)), 0o755); err != nil {
		o.t.Fatal(err)
	}
	if err := os.Symlink(path, filepath.Join(o.folder, name)); err != nil {
		o.t.Fatal(err)
	}
}

// run runs a script, for which there are no programs but those of the office.
func (o office) run(script, typed string, env ...string) (out string, err error) {
	o.t.Helper()
	cmd := exec.CommandContext(o.t.Context(), "bash", filepath.Join(o.folder, "infra", script))
	cmd.Stdin = strings.NewReader(typed)
	cmd.Env = append([]string{"PATH=" + filepath.Join(o.folder, "path"), "HOME=" + o.folder}, env...)
	text, err := cmd.CombinedOutput()
	return string(text), err
}

func TestDeployAsksForWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		name     string
		programs []string
		env      []string
		want     string
	}{
		{"no SAM CLI", []string{"aws"}, []string{"AWS_REGION=eu-west-1"}, "SAM CLI is missing"},
		{"no credentials", []string{"sam"}, []string{"AWS_REGION=eu-west-1"}, "credentials"},
		{"no region", []string{"sam", "aws"}, nil, "no AWS region"},
		{"no such environment", []string{"sam", "aws"}, []string{"AWS_REGION=eu-west-1", "SAM_CONFIG_ENV=moon"}, `no environment "moon"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := newOffice(t, c.programs...).run("deploy.sh", "", c.env...)
			if err == nil || !strings.Contains(out, c.want) || strings.Contains(out, "CALL sam") {
				t.Errorf("deploying ends with %v, want %q and no deployment:\n%s", err, c.want, out)
			}
		})
	}
}

func TestDeployGivesTheStackOnlyTheHash(t *testing.T) {
	o := newOffice(t, "sam", "aws")
	for range 2 { // a second try keeps the token
		out, err := o.run("deploy.sh", "", "AWS_REGION=eu-west-1", "SAM_CONFIG_ENV=staging", "FIRST_TOKEN=1")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		given := fmt.Sprintf(` LogRetentionDays=\"3\" AdminTokenSha256=\"%x\""`, sha256.Sum256([]byte("plr_secret")))
		if !strings.Contains(out, "CALL sam deploy") || strings.Count(out, given) != 2 || strings.Count(out, "AdminToken") != 2 {
			t.Errorf("staging alone should be given the hash, beside its other parameters, to build and to deploy:\n%s", out)
		}
		if strings.Contains(out, "plr_secret") {
			t.Errorf("the token is printed:\n%s", out)
		}
	}
	kept := filepath.Join(o.folder, ".palier", "palier-staging.token")
	if text, err := os.ReadFile(kept); err != nil || string(text) != "plr_secret" {
		t.Errorf("kept is %q (%v)", text, err)
	}
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's file is %v (%v)", info.Mode(), err)
	}
}

func TestTeardownAsks(t *testing.T) {
	for _, c := range []struct {
		typed   string
		removes bool
	}{{"palier\n", true}, {"yes\n", false}, {"", false}} {
		out, err := newOffice(t, "sam", "aws").run("teardown.sh", c.typed, "AWS_REGION=eu-west-1")
		if removed := strings.Contains(out, "CALL sam delete"); removed != c.removes || (err == nil) != c.removes {
			t.Errorf("typing %q ends with %v:\n%s", c.typed, err, out)
		}
	}
}

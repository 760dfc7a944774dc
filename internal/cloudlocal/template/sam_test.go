package template

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"
)

// The real SAM CLI decides whether the template is one. It is a Python program, pinned with everything it stands on in
// infra/sam-requirements.txt and installed from there into a virtual environment in the user's cache folder: a minute or
// two the first time, nothing later. It asks AWS nothing for what is done here, and needs no account.

const installTimeout = 10 * time.Minute // also of somebody else's installation that is waited for

// samCLI returns the path of the SAM CLI, which it installs if need be.
func samCLI(t *testing.T) string {
	t.Helper()
	requirements := filepath.Join(root, "infra", "sam-requirements.txt")
	body, err := os.ReadFile(requirements)
	if err != nil {
		t.Fatal(err)
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal("the SAM CLI, which checks template.yaml, needs Python 3.11 or newer with its venv module: apt-get install python3-venv")
	}
	version := output(t, exec.CommandContext(t.Context(), python, "-VV"))
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(cache, "palier", fmt.Sprintf("sam-%x", sha256.Sum256(fmt.Append(body, python, version)))[:16])
	install(t, folder, func() {
		output(t, exec.CommandContext(t.Context(), python, "-m", "venv", folder))
		output(t, exec.CommandContext(t.Context(), filepath.Join(folder, "bin", "pip"), "install", "--quiet",
			"--no-deps", "--no-compile", "--require-hashes", "--only-binary", ":all:", "--requirement", requirements))
	})
	return filepath.Join(folder, "bin", "sam")
}

// install runs make once per folder, whoever else wants the same at the same time. A folder that was left half done is
// made anew.
func install(t *testing.T, folder string, make func()) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		t.Fatal(err)
	}
	lock := flock.New(folder + ".lock")
	deadline := time.Now().Add(installTimeout)
	for locked := false; !locked; {
		var err error
		if locked, err = lock.TryLock(); err != nil {
			t.Fatal(err)
		}
		if !locked {
			if time.Now().After(deadline) {
				t.Fatalf("%s has been locked for %s: somebody else's installation does not end", folder, installTimeout)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	defer func() { _ = lock.Unlock() }()
	done := filepath.Join(folder, "installed")
	if _, err := os.Stat(done); err == nil {
		return
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	make()
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// output runs a command that must succeed and returns what it printed.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// sam prepares a call of the SAM CLI, away from the user's own settings and account.
func sam(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), samCLI(t), args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "SAM_CLI_TELEMETRY=0", "__SAM_CLI_APP_DIR="+t.TempDir(), "AWS_REGION="+Region,
		"AWS_DEFAULT_REGION="+Region, "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	return cmd
}

func TestSAMAcceptsTheTemplates(t *testing.T) {
	for _, file := range []string{"template.yaml", "infra/observability.yaml"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			output(t, sam(t, "validate", "--lint", "--template-file", file))
		})
	}
}

// TestSAMRefusesBrokenTemplates shows that the check above means something: every mistake is found and named. Those of one
// file are found together; the check takes seconds.
func TestSAMRefusesBrokenTemplates(t *testing.T) {
	type mistake struct{ name, old, new, want string }
	for name, mistakes := range map[string][]mistake{
		"found by looking at each resource": {
			{"a property that does not exist", "BillingMode: PAY_PER_REQUEST", "BilingMode: PAY_PER_REQUEST", "'BilingMode' was unexpected"},
			{"a dangling reference", "PALIER_TABLE: !Ref Table", "PALIER_TABLE: !Ref Tabel", "'Tabel' is not one of"},
			{"a dangling attribute", "!GetAtt TickDeadLetters.Arn}", "!GetAtt TickDeadLetters.Colour}", "'Colour' is not one of"},
			{"a runtime that does not exist", "Runtime: provided.al2023", "Runtime: provided.al2042", "'provided.al2042' is not one of"},
			{"a wrong type", "MessageRetentionPeriod: 345600", "MessageRetentionPeriod: four days", "'four days' is not of type"},
			{"a value out of bounds", "BatchSize: 1000", "BatchSize: 100000", "100000 is greater than"},
			{"a condition that does not exist", "!If [ReservePromote,", "!If [ReservePromotion,", "'ReservePromotion'"},
			{"a required property that is missing", "      KeySchema:\n", "      KeySchemes:\n", "'KeySchema' is a required property"},
		},
		"found by looking at how they hang together": {
			{"a circle", "Description: The operator API.", "Description: !GetAtt AdminFunction.Arn", "ircular"},
		},
		"found by SAM": {
			{"an event without its stream", "            Stream: !GetAtt TelemetryStream.Arn\n", "", "Missing required property 'Stream'"},
		},
		"found by reading": {{"no YAML", "Resources:\n", "Resources: {\n", "parsing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := os.ReadFile(filepath.Join(root, "template.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range mistakes {
				if !bytes.Contains(body, []byte(m.old)) {
					t.Fatalf("%s: %q is not in the template", m.name, m.old)
				}
				body = bytes.Replace(body, []byte(m.old), []byte(m.new), 1)
			}
			file := filepath.Join(t.TempDir(), "template.yaml")
			if err := os.WriteFile(file, body, 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := sam(t, "validate", "--lint", "--template-file", file).CombinedOutput()
			if err == nil {
				t.Error("the SAM CLI accepts it")
			}
			for _, m := range mistakes {
				if !bytes.Contains(out, []byte(m.want)) {
					t.Errorf("%s: the SAM CLI does not say %q:\n%s", m.name, m.want, out)
				}
			}
		})
	}
}

// TestSAMBuilds builds as `make deploy` does and looks at what would be uploaded.
func TestSAMBuilds(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "build")
	config, err := filepath.Abs(filepath.Join(root, "infra", "samconfig.example.toml"))
	if err != nil {
		t.Fatal(err)
	}
	output(t, sam(t, "build", "--config-file", config, "--build-dir", folder))
	for _, f := range ours(t, Options{}).Functions {
		checkBootstrap(t, filepath.Join(folder, f.ID, "bootstrap"))
	}
	for _, file := range []string{"template.yaml", "Observability/template.yaml"} {
		if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
			t.Error(err)
		}
	}
}

// checkBootstrap demands a program that provided.al2023 on arm64 can start.
func checkBootstrap(t *testing.T, path string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if f.Machine != elf.EM_AARCH64 {
		t.Errorf("%s is for %s", path, f.Machine)
	}
	if libraries, err := f.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("%s needs %v (%v)", path, libraries, err)
	}
	if f.Section(".symtab") != nil {
		t.Errorf("%s still has its symbols, which cold starts pay for", path)
	}
}

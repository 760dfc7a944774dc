package storetest

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// KillAfter runs the test program itself again, with the variables (NAME=value) that make its TestMain write without
// end and print a line for everything that was acknowledged. It kills the program once it has printed so many lines,
// and returns all the lines that it finished. A program that ends by itself fails the test.
func KillAfter(t *testing.T, lines int, variables ...string) []string {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), variables...)
	var stderr strings.Builder
	child.Stderr = &stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var printed []string
	reader := bufio.NewReader(out)
	for {
		line, err := reader.ReadString('\n')
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
			break // the last line may be cut, and then counts for nothing
		}
		if err != nil {
			t.Fatal(err)
		}
		if printed = append(printed, strings.TrimSpace(line)); len(printed) == lines {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || stderr.Len() > 0 || len(printed) < lines {
		t.Fatalf("the child was not killed but ended by itself after %d lines: %v\n%s", len(printed), err, stderr.String())
	}
	return printed
}

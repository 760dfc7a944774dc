// Command validate holds the judge to its promises and writes down what it found.
//
//	go run ./internal/validation/validate -runs 10000 -seed 1 -out internal/judge/VALIDATION.md
//
// It prints its progress, and ends with status 1 when the judge does not live up to something.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"github.com/palier-ota/palier/internal/validation"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "validate:", err)
		os.Exit(1)
	}
}

func run() error {
	runs := flag.Int("runs", validation.FullRuns, "runs of each cell of the matrix")
	seed := flag.Uint64("seed", 1, "the same seed gives the same figures")
	workers := flag.Int("workers", 0, "simulations at once; 0 is one per processor")
	out := flag.String("out", "", "the file to write; none prints it")
	flag.Parse()

	debug.SetGCPercent(400) // memory is plenty, and a fold makes much of it
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	started := time.Now()
	report, err := validation.Run(ctx, validation.Options{Runs: *runs, Seed: *seed, Workers: *workers, Progress: progress})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "\n%d runs took %v; %d would take about %v on this machine as busy as it is\n",
		report.Runs, time.Since(started).Round(time.Second), validation.FullRuns, report.Full.Round(time.Second))
	if err := write(*out, report.Markdown()); err != nil {
		return err
	}
	return failed(report.Failures())
}

// progress writes one line per part, over itself until the part is done.
func progress(part string, done, total int, elapsed time.Duration) {
	left := ""
	if done > 0 && done < total {
		left = fmt.Sprintf(", %v left", (elapsed * time.Duration(total-done) / time.Duration(done)).Round(time.Second))
	}
	end := "\r"
	if done == total {
		end = "\n"
	}
	fmt.Fprintf(os.Stderr, "%-76s %6d of %d in %v%s          %s", part, done, total, elapsed.Round(time.Second), left, end)
}

func write(path, text string) error {
	if path == "" {
		_, err := fmt.Print(text)
		return err
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func failed(failures []string) error {
	if len(failures) == 0 {
		return nil
	}
	for _, f := range failures {
		fmt.Fprintln(os.Stderr, "does not hold:", f)
	}
	return errors.New("the judge does not live up to everything")
}

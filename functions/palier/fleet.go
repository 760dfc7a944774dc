package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/fleet"
	"github.com/palier-ota/palier/internal/rollout"
)

func newFleet() *cobra.Command {
	var cfg fleet.Config
	var behaviours []string
	var duration, every string
	var acks, until string
	cmd := &cobra.Command{
		Use:   "fleet APP",
		Short: "Simulate devices that speak the plugin's protocol",
		Long: `Fleet sends what real devices would send: update checks, statistics and app metrics, from every generation of the
plugin, over HTTP. Devices install what they are offered, crash as their bundle's behaviour says, lose and repeat
statistics, and complain: an offer that must not have been made is a violation, and makes the exit code 5.

A behaviour is VERSION:NAME=SHARE,… with the names crash (per session), boot_fail, kill, download_fail, error and
negative_feedback; the version "baseline" stands for all that are not named.`,
		Example: `  palier fleet com.example.shop --devices 2000 --time-scale 3600 --duration 7d
  palier fleet com.example.shop --behaviour baseline:crash=0.005 --behaviour 1.4.0:crash=0.05`,
		Args: exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg.App = args[0]
			cfg.BaseURL, _ = cmd.Flags().GetString("server")
			if err := fleetDurations(&cfg, duration, every); err != nil {
				return err
			}
			if err := fleetBehaviours(&cfg, behaviours); err != nil {
				return err
			}
			if err := fleetUntil(&cfg, until); err != nil {
				return err
			}
			if acks != "" {
				f, err := os.OpenFile(acks, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
				if err != nil {
					return fmt.Errorf("opening the log of acknowledged events: %w", err)
				}
				defer f.Close()
				cfg.AckLog = f
			}
			asJSON, _ := cmd.Flags().GetBool("json")
			return runFleet(cmd, cfg, asJSON)
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Devices, "devices", 1000, "how many devices")
	f.Uint64Var(&cfg.Seed, "seed", 1, "same seed, same devices")
	f.Float64Var(&cfg.TimeScale, "time-scale", 1, "simulated seconds per real second; give the server's")
	f.StringVar(&duration, "duration", "0", "simulated time to run, such as 7d; 0 runs until interrupted")
	f.StringVar(&until, "until", "", "end when so many devices run a bundle, as VERSION=SHARE such as 1.4.0=0.9")
	f.StringVar(&every, "check-every", "6h", "mean simulated time between two app starts of a device")
	f.StringVar(&cfg.StoreVersion, "store-version", "1.0.0", "native version of the store build")
	f.StringVar(&cfg.Channel, "channel", "", "default channel in the app's configuration")
	f.StringArrayVar(&behaviours, "behaviour", nil, "what a bundle does to devices; repeatable")
	f.Float64Var(&cfg.Duplicate, "duplicate", 0, "share of statistics requests sent twice")
	f.Float64Var(&cfg.Lost, "lost", 0, "share of statistics requests lost on the way")
	f.Float64Var(&cfg.Metrics, "metrics", 0.2, "share of devices whose app reports metrics")
	f.Float64Var(&cfg.MaxRate, "max-rate", 0, "requests per second at most; 0 is no limit")
	f.IntVar(&cfg.Concurrency, "concurrency", 64, "requests in flight at most")
	f.StringVar(&acks, "ack-log", "", "file that gets a line for every acknowledged event")
	return cmd
}

func fleetDurations(cfg *fleet.Config, duration, every string) error {
	d, err := rollout.ParseDuration(duration)
	if err != nil {
		return usageError{fmt.Errorf("--duration: %w", err)}
	}
	e, err := rollout.ParseDuration(every)
	if err != nil || e == 0 {
		return usageError{fmt.Errorf("--check-every %q: want something like 6h", every)}
	}
	cfg.Duration, cfg.CheckEvery = d.Std(), e.Std()
	return nil
}

// fleetUntil reads a VERSION=SHARE argument.
func fleetUntil(cfg *fleet.Config, until string) error {
	if until == "" {
		return nil
	}
	version, text, _ := strings.Cut(until, "=")
	share, err := strconv.ParseFloat(text, 64)
	if err != nil || version == "" || !(share > 0 && share <= 1) {
		return usageError{fmt.Errorf("--until %q: want VERSION=SHARE, such as 1.4.0=0.9", until)}
	}
	cfg.Until = func(s fleet.Stats) bool { return float64(s.Versions[version].Running) >= share*float64(s.Devices) }
	return nil
}

// fleetBehaviours reads VERSION:NAME=SHARE,… arguments.
func fleetBehaviours(cfg *fleet.Config, args []string) error {
	cfg.Behaviour = map[string]fleet.Behaviour{}
	for _, arg := range args {
		version, list, ok := strings.Cut(arg, ":")
		if !ok {
			return usageError{fmt.Errorf("--behaviour %q: want VERSION:NAME=SHARE, such as 1.4.0:crash=0.05", arg)}
		}
		b, err := parseBehaviour(list)
		if err != nil {
			return usageError{fmt.Errorf("--behaviour %q: %w", arg, err)}
		}
		if version == "baseline" {
			cfg.Baseline = b
		} else {
			cfg.Behaviour[version] = b
		}
	}
	return nil
}

func parseBehaviour(list string) (b fleet.Behaviour, err error) {
	fields := map[string]*float64{
		"crash": &b.CrashRate, "boot_fail": &b.BootFail, "kill": &b.Kill, "download_fail": &b.DownloadFail,
		"error": &b.ErrorRate, "negative_feedback": &b.NegativeFeedback,
	}
	for _, pair := range strings.Split(list, ",") {
		name, value, _ := strings.Cut(pair, "=")
		field, ok := fields[name]
		if !ok {
			return b, fmt.Errorf("%q is no behaviour: want crash, boot_fail, kill, download_fail, error or negative_feedback", name)
		}
		if *field, err = strconv.ParseFloat(value, 64); err != nil || *field < 0 || *field > 1 {
			return b, fmt.Errorf("%s=%q: want a share from 0 to 1", name, value)
		}
	}
	return b, nil
}

// runFleet runs a fleet, shows its progress and prints its report.
func runFleet(cmd *cobra.Command, cfg fleet.Config, asJSON bool) error {
	progress := fleetProgress(cmd.ErrOrStderr(), cfg)
	report, err := fleet.Run(cmd.Context(), cfg, progress)
	fmt.Fprintln(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(cmd.OutOrStdout(), report); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(cmd.OutOrStdout(), report)
	}
	if report.ViolationCount() > 0 {
		return errExit(exitNotHealthy)
	}
	return nil
}

// fleetProgress draws a bar over the simulated time, or a spinner when the run has no end.
func fleetProgress(w io.Writer, cfg fleet.Config) func(fleet.Stats) {
	total := int64(-1)
	if cfg.Duration > 0 {
		total = int64(cfg.Duration / time.Minute)
	}
	bar := progressbar.NewOptions64(total, progressbar.OptionSetWriter(w), progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(200*time.Millisecond), progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false))
	return func(s fleet.Stats) {
		bar.Describe(s.String())
		if total > 0 {
			_ = bar.Set64(min(total, int64(s.Simulated/time.Minute)))
		} else {
			_ = bar.Add(1)
		}
	}
}

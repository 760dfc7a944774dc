package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/palier-ota/palier/internal/admin"
	"github.com/palier-ota/palier/internal/forecast"
	"github.com/palier-ota/palier/internal/forecast/picture"
	"github.com/palier-ota/palier/internal/rollout"
)

// question is what a simulation is asked, as the command line has it.
type question struct {
	plan, channel    string
	devices          int64
	sessions         float64
	rates, segments  []string
	ratios           []float64
	metric, budget   string
	runs             int
	seed             uint64
	svgFile, pngFile string
}

func newSimulate(c *connection) *cobra.Command {
	var q question
	cmd := &cobra.Command{
		Use:   "simulate [APP] [--plan NAME|FILE]",
		Short: "Play a plan forward before it starts: how long, how safe, how many harmed",
		Long: `Simulate plays a plan many times against invented devices, with the same judge that will decide: once with a bundle
that does no harm and once for each of several that do. It tells how long each phase takes, how often a good bundle is
stopped for nothing, and how many devices a bad one harms before it is stopped. Every chance comes with what so many
plays can support.

With APP, what you leave out is learned from the app's past rollouts on the server. The plays themselves run here: they
want processors and may take a while, and the server has devices to answer. Without APP no server is needed, and what you
leave out is taken to be typical.

--rate is the share of devices with a first event in a week, by metric; for failures of an update (boot_failure,
download_failure …) the share of updates that fail. --budget 20@5x asks for the fastest plan that harms at most 20
devices, in nine plays of ten, when a bundle has five times as many crashes.`,
		Example: `  palier simulate
  palier simulate --devices 500 --plan small
  palier simulate --devices 250000 --sessions 3 --rate crash=0.5% --rate anr=0.1% --svg forecast.svg
  palier simulate com.example.shop --plan ./careful.yaml --ratios 1.5,3
  palier simulate com.example.shop --budget 20@5x`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("simulate wants APP or nothing, got %q too; see palier simulate --help", args[1])}
			}
			return nil
		},
		ValidArgsFunction: c.completeApp, SuggestFor: []string{"forecast", "predict", "whatif"},
		RunE: func(cmd *cobra.Command, args []string) error {
			view, err := c.simulate(cmd, args, q)
			if err != nil {
				return err
			}
			if err := q.draw(view.Forecast); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), view)
			}
			printForecast(cmd.OutOrStdout(), view, len(args) > 0)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.plan, "plan", "", "plan by name, or a YAML file (default progressive)")
	f.StringVar(&q.channel, "channel", "production", "learn from rollouts on this channel before others")
	f.Int64Var(&q.devices, "devices", 0, "active devices (default learned, else 10000)")
	f.Float64Var(&q.sessions, "sessions", 0, "update checks of a device in a day (default learned, else 2)")
	f.StringArrayVar(&q.rates, "rate", nil, "a metric's base rate, such as crash=0.5%; may be repeated")
	f.StringArrayVar(&q.segments, "segment", nil, "a segment's share of the devices, such as internal=2%; may be repeated")
	f.Float64SliceVar(&q.ratios, "ratios", []float64{2, 5, 10}, "how many times worse the harmful bundles are")
	f.StringVar(&q.metric, "metric", string(rollout.Crash), "what they make worse")
	f.StringVar(&q.budget, "budget", "", "recommend a plan for this harm, such as 20@5x: devices, and how many times worse")
	f.IntVar(&q.runs, "runs", forecast.DefaultRuns, "plays of each bundle")
	f.Uint64Var(&q.seed, "seed", 0, "the same seed gives the same forecast")
	f.StringVar(&q.svgFile, "svg", "", "draw the forecast into this file, as SVG")
	f.StringVar(&q.pngFile, "png", "", "draw the forecast into this file, as PNG")
	f.Lookup("ratios").DefValue = "2,5,10"
	offer(cmd, "plan", c.completePlan)
	return cmd
}

// simulate gathers what the plays need, from the server where an app is named, and plays.
func (c *connection) simulate(cmd *cobra.Command, args []string, q question) (admin.ForecastView, error) {
	for flag, is := range map[string]bool{"runs": q.runs == 0, "devices": q.devices == 0, "sessions": q.sessions == 0} {
		if is && cmd.Flags().Changed(flag) { // zero stands for what is not said
			return admin.ForecastView{}, usageError{fmt.Errorf("--%s 0: want a number above 0, or leave it out", flag)}
		}
	}
	given, err := q.audience()
	if err != nil {
		return admin.ForecastView{}, err
	}
	var budget forecast.Budget
	if q.budget != "" {
		if budget, err = parseBudget(q.budget, rollout.Metric(q.metric)); err != nil {
			return admin.ForecastView{}, usageError{err}
		}
	}
	known, plan, err := c.surroundings(cmd.Context(), args, q)
	if err != nil {
		return admin.ForecastView{}, err
	}
	known.Give(given)
	o := forecast.Options{Runs: q.runs, Seed: q.seed, Record: known.Record, Regressions: q.regressions()}
	if q.budget != "" {
		if err := budget.Check(o); err != nil {
			return admin.ForecastView{}, refusedInput(err)
		}
	}
	o.Progress = playProgress(cmd.ErrOrStderr(), "playing")
	view := admin.ForecastView{Audience: known}
	if view.Forecast, err = forecast.Run(cmd.Context(), plan, known.Audience, o); err != nil {
		return view, refusedInput(err)
	}
	view.Warnings = append(view.Warnings, known.Cautions(view.Forecast)...)
	if q.budget == "" {
		return view, nil
	}
	o.Progress = playProgress(cmd.ErrOrStderr(), "searching a plan")
	advice, err := forecast.Recommend(cmd.Context(), known.Audience, budget, o)
	view.Advice = &advice
	return view, refusedInput(err)
}

// surroundings returns what is known of the app's devices, and the plan: from the server if there is an app.
func (c *connection) surroundings(ctx context.Context, args []string, q question) (known admin.AudienceView, plan rollout.Plan, err error) {
	known = admin.TypicalAudience()
	if len(args) > 0 {
		if err := c.get(ctx, appPath(args[0], "audience")+"?channel="+url.QueryEscape(q.channel), &known); err != nil {
			return known, plan, err
		}
	}
	name, inline, err := readPlan(cmp.Or(q.plan, rollout.DefaultPlan))
	switch {
	case err != nil || name == "":
		return known, inline, err
	case len(args) > 0:
		err = c.get(ctx, appPath(args[0], "plans", name), &plan)
		return known, plan, err
	}
	plan, builtin := rollout.BuiltinPlan(name)
	if !builtin {
		return known, plan, usageError{fmt.Errorf("--plan %q: without an app there are only %s, or a YAML file", name, strings.Join(rollout.BuiltinPlanNames(), ", "))}
	}
	return known, plan, nil
}

// readPlan returns the name that --plan is, or the plan in the file that it names.
func readPlan(argument string) (name string, plan rollout.Plan, err error) {
	found, err := planArgument(argument)
	if err != nil {
		return "", plan, err
	}
	text, inline := found.(json.RawMessage)
	if !inline {
		return argument, plan, nil
	}
	if plan, err = admin.ReadPlan(text); err != nil {
		return "", plan, usageError{fmt.Errorf("the plan in %s: %w", argument, asAnswered(err))}
	}
	if plan.Name == "" {
		plan.Name = strings.TrimSuffix(filepath.Base(argument), filepath.Ext(argument))
	}
	return "", plan, nil
}

// audience is what the command line says of the devices.
func (q question) audience() (given admin.AudienceBody, err error) {
	given = admin.AudienceBody{Devices: q.devices, SessionsPerDay: q.sessions, Base: map[rollout.Metric]float64{}, Segments: map[string]float64{}}
	for _, text := range q.rates {
		name, share, err := parseShare("--rate", text)
		if err != nil {
			return given, usageError{err}
		}
		given.Base[rollout.Metric(name)] = share
	}
	for _, text := range q.segments {
		name, share, err := parseShare("--segment", text)
		if err != nil {
			return given, usageError{err}
		}
		given.Segments[name] = share
	}
	return given, nil
}

// parseShare reads "crash=0.5%" or "crash=0.005".
func parseShare(flag, text string) (name string, share float64, err error) {
	name, number, ok := strings.Cut(text, "=")
	divisor := 1.
	if strings.HasSuffix(number, "%") {
		number, divisor = strings.TrimSuffix(number, "%"), 100
	}
	share, err = strconv.ParseFloat(strings.TrimSpace(number), 64)
	if !ok || name == "" || err != nil {
		return "", 0, fmt.Errorf("%s %q: want a name and a share, such as crash=0.5%%", flag, text)
	}
	return name, share / divisor, nil
}

// parseBudget reads "20@5x": so many devices, and how many times worse the bundle is.
func parseBudget(text string, metric rollout.Metric) (forecast.Budget, error) {
	devices, times, ok := strings.Cut(text, "@")
	harmed, errHarmed := strconv.Atoi(strings.TrimSpace(devices))
	ratio, errRatio := strconv.ParseFloat(strings.TrimRight(strings.TrimSpace(times), "x×"), 64)
	if !ok || errHarmed != nil || errRatio != nil {
		return forecast.Budget{}, fmt.Errorf("--budget %q: want devices and how many times worse, such as 20@5x", text)
	}
	return forecast.Budget{Harmed: harmed, Regression: forecast.Regression{Metric: metric, Ratio: ratio}}, nil
}

// regressions are the harmful bundles: as many times worse as asked for, and one that never starts.
func (q question) regressions() []forecast.Regression {
	list := make([]forecast.Regression, 0, len(q.ratios)+1)
	for _, ratio := range q.ratios {
		list = append(list, forecast.Regression{Metric: rollout.Metric(q.metric), Ratio: ratio})
	}
	return append(list, forecast.Deadly())
}

// refusedInput marks what the domain refuses as a mistake in the command line: nothing was sent anywhere.
func refusedInput(err error) error {
	if rollout.CodeOf(err) != "" {
		return usageError{err}
	}
	return err
}

// draw writes the pictures that are wanted.
func (q question) draw(f forecast.Forecast) error {
	for file, drawn := range map[string]func(forecast.Forecast) ([]byte, error){q.svgFile: picture.SVG, q.pngFile: picture.PNG} {
		if file == "" {
			continue
		}
		image, err := drawn(f)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, image, 0o644); err != nil {
			return fmt.Errorf("writing the picture: %w", err)
		}
	}
	return nil
}

// playProgress draws a bar over the plays.
func playProgress(w io.Writer, what string) func(done, total int) {
	var bar *progressbar.ProgressBar
	return func(done, total int) {
		if bar == nil || bar.GetMax() != total { // a search for a plan ends in the plays of one
			bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(w), progressbar.OptionSetWidth(30), progressbar.OptionSetDescription(what),
				progressbar.OptionThrottle(200*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetElapsedTime(false),
				progressbar.OptionSetVisibility(isTerminal(w)))
		}
		_ = bar.Set(done)
	}
}

// isTerminal reports whether a person may be looking at w: a log is no place for a bar that moves.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/palier-ota/palier/internal/cost"
)

// bill is what `palier cost` prints of one number of devices.
type bill struct {
	Devices float64     `json:"devices"`
	Lines   []cost.Line `json:"lines"`
	Dollars float64     `json:"dollars"` // a month

	AskedByEdges []cost.Caused `json:"asked_by_edges,omitempty"`
}

func newCost(c *connection) *cobra.Command {
	usage := cost.Typical(0)
	var devices []float64
	var prices, units string
	var show bool
	cmd := &cobra.Command{
		Use:   "cost",
		Short: "Compute what a month on AWS costs",
		Long: `Cost computes a month's bill of the serverless shape from the capacity that each call was measured to use, a price
list, and your traffic. Bandwidth of bundles is left out. Times that a function waits for DynamoDB and Kinesis are
assumptions, and stand in the price list.

With --edge, that share of what devices ask goes to edges: an edge platform's, or --edge-machines of your own. Every process
of an edge asks for news every --edge-poll seconds, for each app, and hands over reports in batches, of as many as come to
it in --edge-gather seconds; so a few busy processes cost less than many that have little to do.`,
		Example: `  palier cost
  palier cost --devices 250000 --checks 60 --live 1
  palier cost --devices 100e6 --edge 1 --edge-machines 6
  palier cost --devices 1e6 --shards 1
  palier cost --show-prices > prices.yaml && palier cost --prices prices.yaml`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if show {
				_, err := io.WriteString(cmd.OutOrStdout(), cost.DefaultPrices())
				return err
			}
			p, u, err := costTables(prices, units)
			if err != nil {
				return err
			}
			bills := make([]bill, len(devices))
			for i, n := range devices {
				usage.Devices = n
				if err := usage.Check(); err != nil {
					return usageError{err}
				}
				bills[i] = bill{Devices: n, Lines: cost.Month(p, u, usage), AskedByEdges: cost.OfEdges(p, u, usage)}
				bills[i].Dollars = cost.Total(bills[i].Lines)
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), bills)
			}
			return printBills(cmd.OutOrStdout(), p, bills)
		},
	}
	f := cmd.Flags()
	f.Float64SliceVar(&devices, "devices", []float64{1e6, 1e8}, "monthly active devices; several give a column each")
	f.Float64Var(&usage.Checks, "checks", usage.Checks, "update checks of a device in a month")
	f.Float64Var(&usage.Batches, "reports", usage.Batches, "reports of a device in a month")
	f.Float64Var(&usage.Offers, "offers", usage.Offers, "bundles that a device is offered in a month")
	f.Float64Var(&usage.LiveShare, "live", usage.LiveShare, "share of the time with a live rollout, 0 to 1")
	f.Float64Var(&usage.Edges.Share, "edge", usage.Edges.Share, "share of the devices' requests that go to edges, 0 to 1")
	f.Float64Var(&usage.Edges.Machines, "edge-machines", usage.Edges.Machines, "machines of your own that run edges; 0 for an edge platform")
	f.Float64Var(&usage.Edges.Processes, "edge-processes", usage.Edges.Processes, "processes of the edge platform at work at any time")
	f.Float64Var(&usage.Edges.Poll, "edge-poll", usage.Edges.Poll, "seconds between an edge's polls for each app")
	f.Float64Var(&usage.Edges.Gather, "edge-gather", usage.Edges.Gather, "seconds for which an edge gathers reports")
	f.Float64Var(&usage.Edges.Batch, "edge-batch", usage.Edges.Batch, "reports that an edge hands over at once; 0 for what it gathers")
	f.Float64Var(&usage.Apps, "apps", usage.Apps, "apps that the devices belong to")
	f.Float64Var(&usage.Window, "window", usage.Window, "seconds that events are gathered before they are counted")
	f.Float64Var(&usage.Shards, "shards", usage.Shards, "shards of a provisioned stream; 0 for an on-demand one")
	f.Float64Var(&usage.Retention, "retention", usage.Retention, "hours that the stream keeps events")
	f.Float64Var(&usage.LogBytes, "access-log", usage.LogBytes, "bytes of a request's line in the access log; 0 for none")
	f.StringVar(&prices, "prices", "", "price list to use, as --show-prices prints it")
	f.StringVar(&units, "units", "", "units per call to use instead of the measured ones")
	f.BoolVar(&show, "show-prices", false, "print the price list and end")
	return cmd
}

// costTables reads the files, or the tables that come with Palier where no file is named.
func costTables(prices, units string) (p cost.Prices, u cost.Units, err error) {
	text, err := optionalFile(prices)
	if err != nil {
		return p, u, err
	}
	if p, err = cost.ParsePrices(text); err != nil {
		return p, u, usageError{err}
	}
	if text, err = optionalFile(units); err != nil {
		return p, u, err
	}
	if u, err = cost.ParseUnits(text); err != nil {
		return p, u, usageError{err}
	}
	return p, u, nil
}

func optionalFile(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	return os.ReadFile(path)
}

// printBills prints a column for each number of devices.
func printBills(out io.Writer, p cost.Prices, bills []bill) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "a month in %s, prices of %s\t", p.Region, p.Date)
	for _, b := range bills {
		fmt.Fprintf(w, "%s devices\t$\t", quantity(b.Devices))
	}
	fmt.Fprintln(w)
	for i, l := range bills[0].Lines {
		fmt.Fprintf(w, "%s\t", l.Part)
		for _, b := range bills {
			fmt.Fprintf(w, "%s %s\t%.2f\t", quantity(b.Lines[i].Quantity), l.Unit, b.Lines[i].Dollars)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "total\t")
	for _, b := range bills {
		fmt.Fprintf(w, "\t%.2f\t", b.Dollars)
	}
	fmt.Fprintln(w)
	printAsked(w, bills)
	return w.Flush()
}

// printAsked says which part of the bill is for what edges ask of the origin.
func printAsked(w io.Writer, bills []bill) {
	for i, kind := range bills[0].AskedByEdges {
		fmt.Fprintf(w, "of it asked by edges: %s\t", kind.Kind)
		for _, b := range bills {
			c := b.AskedByEdges[i]
			fmt.Fprintf(w, "%s at $%.2f a million\t%.2f\t", quantity(c.Requests), c.PerMillion, c.Dollars())
		}
		fmt.Fprintln(w)
	}
}

// quantity writes a count the way people say it.
func quantity(n float64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.4g G", n/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.4g M", n/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.4g k", n/1e3)
	}
	return fmt.Sprintf("%.4g", n)
}

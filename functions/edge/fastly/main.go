//go:build wasip1

// Command fastly is an edge on Fastly Compute.
//
// It is the edge of package internal/edge, linked into the program that Fastly runs, so there is no module within a module.
// Fastly runs it in sandboxes, any number of them in each of its places, one request after the other in each. A sandbox keeps its
// memory for the next request if one comes soon; nothing may depend on that. So what a sandbox holds, it holds to be quick:
//
//   - Snapshots. They come through the cache of the place, which asks the origin once for all sandboxes there. What is pushed
//     purges that cache everywhere at once, and every sandbox looks into it each second.
//   - Notes of who asked, which go to the origin after an answer, some at a time.
//
// What devices report goes to the origin at once, because there is nothing here that could keep it.
//
// infra/edge/fastly says how it is deployed, and what is not known of it.
package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/fastly/compute-sdk-go/fsthttp"
)

// How long a sandbox waits for another request, and how long it lives: then it reads its settings anew.
const (
	idle     = time.Second
	lifetime = time.Minute
)

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	s, err := readSettings()
	if err != nil {
		log.Error(err.Error())
		fsthttp.ServeFunc(unusable)
		return
	}
	h := newHost(s, log)
	fsthttp.ServeMany(h.serve, &fsthttp.ServeManyOptions{NextTimeout: idle, MaxLifetime: lifetime})
	h.handOver(context.Background())
}

// unusable answers while the settings will not do.
func unusable(_ context.Context, w fsthttp.ResponseWriter, _ *fsthttp.Request) {
	refusal(fsthttp.StatusInternalServerError, "edge_unusable", "this edge is not set up: its log says what to do").send(w, "")
}

package forecast

import (
	"fmt"
	"strconv"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
)

// Regression is a harm that a bundle does to the devices that run it. The zero value is a bundle that does none.
type Regression struct {
	Metric rollout.Metric `json:"metric,omitempty"`
	Ratio  float64        `json:"ratio,omitempty"` // so many times the base rate; 0 when Share says it
	Share  float64        `json:"share,omitempty"` // of the devices are hit as soon as they run the bundle
}

// Deadly is the bundle that fails to start on every device.
func Deadly() Regression { return Regression{Metric: rollout.BootFailure, Share: 1} }

// Crashes is the bundle that crashes on so many times as many devices.
func Crashes(ratio float64) Regression { return Regression{Metric: rollout.Crash, Ratio: ratio} }

// String says what the bundle does: "5× crash", "100 % boot_failure".
func (r Regression) String() string {
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }
	switch {
	case r.Share > 0:
		return number(100*r.Share) + " % " + string(r.Metric)
	case r.Ratio > 0:
		return number(r.Ratio) + "× " + string(r.Metric)
	}
	return "harmless"
}

// validate refuses what cannot be played.
func (r Regression) validate(field string) error {
	refuse := func(format string, args ...any) error {
		return rollout.Error{Code: CodeInvalidOptions, Field: field, Message: fmt.Sprintf(format, args...)}
	}
	index := r.Metric.Index()
	switch {
	case index < 0:
		return refuse("%q is not a metric; use crash, anr, error or another of the metrics that gates have", clip(string(r.Metric)))
	case r.Metric == rollout.FeatureUse || r.Metric == rollout.Adoption:
		return refuse("%s counts good events, of which a bundle cannot do more harm; use another metric", r.Metric)
	case r.Share == 0 && !(r.Ratio > 1 && r.Ratio <= 10000):
		return refuse("the ratio of a regression must be above 1 and at most 10000, such as 5")
	case r.Share > 0 && r.Metric.Measured() >= 0:
		return refuse("%s is a measure: give the ratio of devices that go beyond each of its boundaries, such as 5", r.Metric)
	case !(r.Share >= 0 && r.Share <= 1):
		return refuse("the share of a regression must be from 0 to 1")
	}
	return nil
}

// harm is a Regression as it meets an audience.
type harm struct {
	metric  int     // index; -1 for none
	extra   float64 // first events per device-hour beyond the base, of devices that run the bundle
	at      float64 // chance of the event as soon as a device runs the bundle
	silence float64 // chance that a device is never heard of again
}

// meet works out what a regression does to an audience.
func (a Audience) meet(r Regression) harm {
	h := harm{metric: r.Metric.Index()}
	if h.metric < 0 {
		return h
	}
	base := a.Base[r.Metric]
	switch {
	case r.Metric == rollout.Silence && r.Share > 0:
		h.silence = r.Share
	case r.Metric == rollout.Silence:
		longest := float64(judge.SilenceHorizons[judge.NumHorizons-1])
		h.silence = min(1, (r.Ratio-1)*(1-seenWithin(a.SessionsPerDay, longest)))
	case r.Share > 0:
		h.at = r.Share
	case ofUpdate(h.metric):
		h.at = min(1, (r.Ratio-1)*base)
	default:
		h.extra = (r.Ratio - 1) * hazard(base)
	}
	return h
}

// ofUpdate reports whether a metric counts failures of an update, which only a device that is offered one can have.
func ofUpdate(metric int) bool {
	c := rollout.AllMetrics()[metric].Comparison
	return c == rollout.AgainstLimit || c == rollout.AgainstBoth
}

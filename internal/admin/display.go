package admin

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/palier-ota/palier/internal/judge"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/telemetry/sketch"
)

// display sums up what all shards heard of a rollout. A shard's part that cannot be read is left out: nothing is decided
// by it.
func (s *Service) display(ctx context.Context, in *RolloutPath) (DisplayView, error) {
	parts, err := s.tallies.Sketches(ctx, in.App, in.ID)
	if err != nil {
		return DisplayView{}, err
	}
	var sum sketch.Sketch
	for _, data := range parts {
		part, err := sketch.Decode(data)
		if err != nil {
			s.log.WarnContext(ctx, "a part of what is displayed cannot be read and is left out", "app", in.App, "rollout", in.ID, "error", err)
			continue
		}
		sum.Merge(part)
	}
	return DisplayView{Candidate: displayOf(&sum, rollout.ArmCandidate), Control: displayOf(&sum, rollout.ArmControl)}, nil
}

func displayOf(s *sketch.Sketch, arm rollout.Arm) ArmDisplay {
	percentiles := func(m rollout.Metric) *Percentiles {
		p, ok := s.Percentiles(arm, m)
		if !ok {
			return nil
		}
		return &Percentiles{Count: p.Count, P50: tenth(p.P50), P75: tenth(p.P75), P95: tenth(p.P95), P99: tenth(p.P99)}
	}
	return ArmDisplay{
		Devices:  s.Devices(arm),
		LoadTime: percentiles(rollout.LoadTime), APITime: percentiles(rollout.APITime), SessionLength: percentiles(rollout.SessionLength),
	}
}

// tenth rounds to one decimal.
func tenth(x float64) float64 { return math.Round(x*10) / 10 }

// adoptionCurve accumulates the candidate arm hour by hour. A device that is seen in several phases is counted in each, and
// who is in an early phase is in all later ones: so the devices are those of the phase that has seen most, or those that run
// the candidate, if they are more.
func adoptionCurve(strata []judge.Stratum) []AdoptionPoint {
	byHour := map[int64][]judge.Stratum{}
	for _, stratum := range strata {
		byHour[stratum.Hour] = append(byHour[stratum.Hour], stratum)
	}
	points := make([]AdoptionPoint, 0, len(byHour))
	seen := map[int]int64{} // by phase
	var devices, adopted int64
	for _, hour := range slices.Sorted(maps.Keys(byHour)) {
		for _, stratum := range byHour[hour] {
			seen[stratum.Phase] += stratum.Candidate.Devices
			devices = max(devices, seen[stratum.Phase])
			adopted += stratum.Candidate.Adopted
		}
		points = append(points, AdoptionPoint{Hour: time.Unix(hour*3600, 0).UTC(), Devices: max(devices, adopted), Adopted: adopted})
	}
	return points
}

// began is when a rollout's first phase began.
func began(r rollout.Rollout) time.Time {
	if r.StartsAt.After(r.CreatedAt) {
		return r.StartsAt
	}
	return r.CreatedAt
}

// adoptionTimes says how long after start it took until a half and nine tenths of the devices at the end of the curve ran
// the candidate. The curve's last hour ends now, at the latest.
func adoptionTimes(curve []AdoptionPoint, start, now time.Time) AdoptionTimes {
	reached := func(tenths int64) *float64 {
		for _, point := range curve {
			if 10*point.Adopted < tenths*curve[len(curve)-1].Devices || point.Adopted == 0 {
				continue
			}
			end := point.Hour.Add(time.Hour)
			if end.After(now) {
				end = now
			}
			hours := tenth(max(0, end.Sub(start).Hours()))
			return &hours
		}
		return nil
	}
	return AdoptionTimes{P50: reached(5), P90: reached(9)}
}

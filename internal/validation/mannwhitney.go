package validation

import (
	"math"
	"slices"
)

// This is the rule by which Kayenta's default judge classifies a metric: the Mann-Whitney test of two series of points, with
// the confidence interval of their shift as R's wilcox.test has it for large samples. A metric is high when the interval
// lies above zero by more than a quarter of the estimated shift, and the ratio of means is not below 1.
const (
	kayentaZ         = 2.3263478740408408 // two-sided 98 %
	kayentaTolerance = .25
)

// classification is what Kayenta says of a metric whose increase is harm.
type classification string

const (
	kayentaPass   classification = "Pass"
	kayentaHigh   classification = "High"
	kayentaNodata classification = "Nodata"
)

// shift is how much higher the experiment's points are than the control's: the Hodges-Lehmann estimate and its interval.
type shift struct{ estimate, lower, upper float64 }

// kayenta classifies the experiment's points against the control's. NaN is a missing point; such points are removed, which
// is Kayenta's default, or count as zero.
func kayenta(experiment, control []float64, zeros bool) classification {
	experiment, control = points(experiment, zeros), points(control, zeros)
	switch {
	case len(experiment) == 0 || len(control) == 0:
		if zeros {
			return kayentaPass
		}
		return kayentaNodata
	case alike(experiment, control):
		return kayentaPass
	}
	if standardised(experiment, control, 0) <= kayentaZ {
		return kayentaPass // the interval holds zero; to find its ends would change nothing
	}
	s := shiftOf(experiment, control)
	if s.lower > kayentaTolerance*math.Abs(s.estimate) && meanRatio(experiment, control) >= 1 {
		return kayentaHigh
	}
	return kayentaPass
}

// points drops missing points, or makes them zero.
func points(series []float64, zeros bool) []float64 {
	var out []float64
	for _, x := range series {
		switch {
		case !math.IsNaN(x):
			out = append(out, x)
		case zeros:
			out = append(out, 0)
		}
	}
	return out
}

// alike reports whether two series have the same points, or only one value between them.
func alike(a, b []float64) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b) || a[0] == b[0] && a[0] == a[len(a)-1] && b[0] == b[len(b)-1]
}

// meanRatio is the ratio of the means, 1 when the control's is zero.
func meanRatio(experiment, control []float64) float64 {
	mean := func(series []float64) (m float64) {
		for _, x := range series {
			m += x / float64(len(series))
		}
		return m
	}
	if mean(control) == 0 {
		return 1
	}
	return mean(experiment) / mean(control)
}

// shiftOf inverts the test: the shifts at which its statistic passes the quantiles and zero.
func shiftOf(experiment, control []float64) shift {
	return shift{
		estimate: crossing(experiment, control, 0),
		lower:    crossing(experiment, control, kayentaZ),
		upper:    crossing(experiment, control, -kayentaZ),
	}
}

// crossing returns the shift at which the statistic, which falls as the shift grows, passes z: within 10⁻⁴, as Kayenta.
func crossing(experiment, control []float64, z float64) float64 {
	low := slices.Min(experiment) - slices.Max(control)
	high := slices.Max(experiment) - slices.Min(control)
	if standardised(experiment, control, low) <= z {
		return low
	}
	if standardised(experiment, control, high) >= z {
		return high
	}
	for high-low > 1e-4 {
		if mid := (low + high) / 2; standardised(experiment, control, mid) > z {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// standardised is the rank statistic of experiment − shift against control, less its mean and by its deviation, with
// corrections for ties and continuity.
func standardised(experiment, control []float64, shift float64) float64 {
	type point struct {
		value float64
		ours  bool
	}
	all := make([]point, 0, len(experiment)+len(control))
	for _, x := range experiment {
		all = append(all, point{x - shift, true})
	}
	for _, y := range control {
		all = append(all, point{y, false})
	}
	slices.SortFunc(all, func(a, b point) int {
		switch {
		case a.value < b.value:
			return -1
		case a.value > b.value:
			return 1
		}
		return 0
	})
	ranks, ties := 0.0, 0.0
	for from := 0; from < len(all); {
		to := from
		for to < len(all) && all[to].value == all[from].value {
			to++
		}
		for _, p := range all[from:to] {
			if p.ours {
				ranks += float64(from+to+1) / 2
			}
		}
		n := float64(to - from)
		ties += n*n*n - n
		from = to
	}
	m, n := float64(len(experiment)), float64(len(control))
	above := ranks - m*(m+1)/2 - m*n/2
	variance := m * n / 12 * (m + n + 1 - ties/((m+n)*(m+n-1)))
	if variance <= 0 {
		return 0
	}
	correction := 0.0
	if above != 0 {
		correction = math.Copysign(.5, above)
	}
	return (above - correction) / math.Sqrt(variance)
}

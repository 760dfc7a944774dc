package rollout

// NumLevels is how many boundaries a measured metric has.
const NumLevels = 16

// NumMeasured is how many metrics are measures rather than events: LoadTime, APITime and SessionLength, in that order.
const NumMeasured = 3

// Measured returns m's place among the measured metrics, or -1 for a metric that counts events.
func (m Metric) Measured() int {
	switch m {
	case LoadTime:
		return 0
	case APITime:
		return 1
	case SessionLength:
		return 2
	}
	return -1
}

// Levels returns the boundaries of a measured metric in milliseconds, from harmless to harmful: a load or a response of
// so much or more is beyond a boundary, a session shorter than so much is. They are spaced evenly on the log scale and
// never tuned to a release, so that counts beyond them add up exactly over shards and hours (Masson, Rim, Lee: DDSketch,
// VLDB 2019, arXiv 1908.10693). It is all zeros for a metric that is not measured.
func (m Metric) Levels() [NumLevels]float64 {
	switch m {
	case LoadTime: // half an octave from 177 ms to 32 s
		return [NumLevels]float64{177, 250, 354, 500, 707, 1000, 1414, 2000, 2828, 4000, 5657, 8000, 11314, 16000, 22627, 32000}
	case APITime: // half an octave from 88 ms to 16 s
		return [NumLevels]float64{88, 125, 177, 250, 354, 500, 707, 1000, 1414, 2000, 2828, 4000, 5657, 8000, 11314, 16000}
	case SessionLength: // octaves from an hour and a half to a sixth of a second
		return [NumLevels]float64{5120000, 2560000, 1280000, 640000, 320000, 160000, 80000, 40000, 20000, 10000, 5000, 2500, 1250, 625, 312, 156}
	}
	return [NumLevels]float64{}
}

// ShownLevel is the level by which a measured metric is counted as an event: a load of 4 s or more, a response of 2 s or
// more, a session below 10 s.
const ShownLevel = 9

// LevelOf returns how many boundaries a measure of so many milliseconds is beyond: 0 to NumLevels. It is 0 for a metric
// that is not measured.
func (m Metric) LevelOf(millis float64) int {
	beyond := 0
	for _, boundary := range m.Levels() {
		if m == SessionLength && millis < boundary || m != SessionLength && boundary > 0 && millis >= boundary {
			beyond++
		}
	}
	return beyond
}

package validation

import (
	"math"
	"strconv"
	"strings"
)

// number writes a figure as people read it: up to three digits that count, thousands apart.
func number(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case math.IsInf(x, 0):
		return "never"
	case math.Abs(x) < 1000:
		return strconv.FormatFloat(x, 'g', 3, 64)
	}
	digits := strconv.FormatInt(int64(math.Round(x)), 10)
	var groups []string
	for len(digits) > 3 {
		groups, digits = append([]string{digits[len(digits)-3:]}, groups...), digits[:len(digits)-3]
	}
	return strings.Join(append([]string{digits}, groups...), " ")
}

// percent writes a share as a percentage.
func percent(share float64) string {
	return strconv.FormatFloat(100*share, 'g', 3, 64) + " %"
}

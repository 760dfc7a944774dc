package store

import (
	"cmp"
	"maps"
	"slices"

	"github.com/palier-ota/palier/internal/judge"
)

// StratumPlace is where a stratum belongs.
type StratumPlace struct {
	Phase int   `json:"phase"`
	Hour  int64 `json:"hour"` // hours since the Unix epoch
}

// StrataChange is how strata came to differ from what they were. Of a rollout that has been counted for days only the last
// hours change, so a series of readings is a few changes long.
type StrataChange struct {
	Changed []judge.Stratum // new ones, and those with other counts, as they are now
	Gone    []StratumPlace  // those that are no more
}

func placeOf(s judge.Stratum) StratumPlace { return StratumPlace{s.Phase, s.Hour} }

func byPlace(strata []judge.Stratum) map[StratumPlace]judge.Stratum {
	places := make(map[StratumPlace]judge.Stratum, len(strata))
	for _, s := range strata {
		places[placeOf(s)] = s
	}
	return places
}

// ChangeOfStrata returns how after differs from before. Neither may have two strata in one place.
func ChangeOfStrata(before, after []judge.Stratum) StrataChange {
	c, was := StrataChange{}, byPlace(before)
	for _, s := range after {
		if old, had := was[placeOf(s)]; !had || old != s {
			c.Changed = append(c.Changed, s)
		}
		delete(was, placeOf(s))
	}
	c.Gone = slices.SortedFunc(maps.Keys(was), func(a, b StratumPlace) int {
		return cmp.Or(cmp.Compare(a.Phase, b.Phase), cmp.Compare(a.Hour, b.Hour))
	})
	return c
}

// ApplyTo returns what before became, in the order of phases and hours.
func (c StrataChange) ApplyTo(before []judge.Stratum) []judge.Stratum {
	is := byPlace(before)
	for _, s := range c.Changed {
		is[placeOf(s)] = s
	}
	for _, place := range c.Gone {
		delete(is, place)
	}
	return slices.SortedFunc(maps.Values(is), func(a, b judge.Stratum) int {
		return cmp.Or(cmp.Compare(a.Phase, b.Phase), cmp.Compare(a.Hour, b.Hour))
	})
}

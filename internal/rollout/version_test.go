package rollout

import (
	"reflect"
	"regexp"
	"testing"

	peer "github.com/Masterminds/semver/v3"
)

// officialSemver is the expression that semver.org suggests.
var officialSemver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$`)

// versionSeeds are versions and near misses, most from semver.org's own list.
func versionSeeds() []string {
	return []string{
		"0.0.4", "1.2.3", "10.20.30", "1.1.2-prerelease+meta", "1.1.2+meta", "1.0.0-alpha", "1.0.0-alpha.beta", "1.0.0-alpha.1",
		"1.0.0-alpha0.valid", "1.0.0-rc.1+build.1", "1.2.3----RC-SNAPSHOT.12.9.1--.12", "1.0.0+0.build.1-rc.10000aaa-kk-0.1",
		"1.0.0-0A.is.legal", "1.0.0+001", "18446744073709551615.0.0", "1", "1.2", "1.2.3-0123", "1.1.2+.123", "+invalid", "-invalid",
		"alpha", "1.2.3.DEV", "1.2-SNAPSHOT", "01.1.1", "1.01.1", "1.1.01", "1.2.3-", "1.2.3+", "1.2.3+a+b", "1.0.0-a..b", "", " 1.0.0",
		"v1.0.0", "1.0.0\n", "1.0.0-é", "1..0", ".1.0", "1.0.", "builtin", "99999999999999999999.0.0",
	}
}

func FuzzSemverIsStrict(f *testing.F) {
	for _, s := range versionSeeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, got := parseSemver(s)
		parts := officialSemver.FindStringSubmatch(s)
		want := parts != nil
		for _, number := range parts {
			if want && len(number) > 19 && isNumber(number) {
				return // at the edge of 64 bits the expression knows no bound
			}
		}
		if got != want {
			t.Errorf("%q: accepted %v, semver.org says %v", s, got, want)
		}
	})
}

func TestSemverNumbersFit64Bits(t *testing.T) {
	if v, ok := parseSemver("18446744073709551615.0.0"); !ok || v.major != 1<<64-1 {
		t.Errorf("the largest number: %+v, %v", v, ok)
	}
	if _, ok := parseSemver("18446744073709551616.0.0"); ok {
		t.Error("a number beyond 64 bits was accepted")
	}
}

// FuzzMatchAgreesOnOrder compares the order of whole versions with an independent implementation.
func FuzzMatchAgreesOnOrder(f *testing.F) {
	seeds := versionSeeds()
	for i, s := range seeds {
		f.Add(s, seeds[(i*7+3)%len(seeds)])
	}
	for _, pair := range [][2]string{
		{"1.0.0-alpha", "1.0.0-alpha.1"},
		{"1.0.0-alpha.1", "1.0.0-alpha.beta"},
		{"1.0.0-beta.2", "1.0.0-beta.11"},
		{"1.0.0-rc.1", "1.0.0"},
		{"1.0.0", "2.0.0"},
		{"2.0.0", "2.1.0"},
		{"2.1.0", "2.1.1"},
		{"1.0.0-1", "1.0.0-a"},
		{"1.0.0+a", "1.0.0+b"},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, okX := parseSemver(a)
		y, okY := parseSemver(b)
		if !okX || !okY {
			return
		}
		ours, errOurs := peer.StrictNewVersion(a)
		theirs, errTheirs := peer.StrictNewVersion(b)
		if errOurs != nil || errTheirs != nil || hasLongNumber(x.pre) || hasLongNumber(y.pre) {
			return // that library reads numbers of a pre-release into 64 bits
		}
		c := Constraint{Parts: 3, Major: y.major, Minor: y.minor, Patch: y.patch, Pre: y.pre}
		if got, want := c.compare(x.major, x.minor, x.patch, x.pre), ours.Compare(theirs); got != want {
			t.Errorf("%q against %q: %d, want %d", a, b, got, want)
		}
	})
}

func hasLongNumber(pre string) bool { return regexp.MustCompile(`\d{19}`).MatchString(pre) }

func TestParseConstraint(t *testing.T) {
	cases := []struct {
		text string
		want []Constraint // nil: refused, unless the text is blank
	}{
		{"", nil},
		{"  ", nil},
		{"17", []Constraint{{Op: OpEqual, Parts: 1, Major: 17}}},
		{">=17.5", []Constraint{{Op: OpGreaterEqual, Parts: 2, Major: 17, Minor: 5}}},
		{">=8.0.0,<9", []Constraint{{Op: OpGreaterEqual, Parts: 3, Major: 8}, {Op: OpLess, Parts: 1, Major: 9}}},
		{" > 1 , <= 2.0.0-rc.1", []Constraint{{Op: OpGreater, Parts: 1, Major: 1}, {Op: OpLessEqual, Parts: 3, Major: 2, Pre: "rc.1"}}},
		{"!=1.2.3", []Constraint{{Op: OpNotEqual, Parts: 3, Major: 1, Minor: 2, Patch: 3}}},
		{"==1", []Constraint{{Op: OpEqual, Parts: 1, Major: 1}}},
		{"17+", nil},
		{"8.x", nil},
		{"1.2.3.4", nil},
		{"1.2-rc", nil},
		{"1.2.3-", nil},
		{"=>1", nil},
		{">=", nil},
		{"1,", nil},
		{",", nil},
		{"^1.0.0", nil},
		{"1 2", nil},
		{"01", nil},
		{"1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", nil},
	}
	for _, c := range cases {
		got, err := ParseConstraint(c.text)
		refused := c.want == nil && c.text != "" && c.text != "  "
		if !reflect.DeepEqual(got, c.want) || refused != (CodeOf(err) == CodeInvalidConstraint) || refused != (err != nil) {
			t.Errorf("%q: %+v, %v, want %+v", c.text, got, err, c.want)
		}
	}
}

func TestConstraintMatch(t *testing.T) {
	cases := []struct {
		condition, version string
		want               bool
	}{
		{"17", "17.5.1", true},
		{"17", "18.0.0", false},
		{"17.5", "17.5.9", true},
		{"17.5", "17.4.0", false},
		{">17", "17.9.0", false},
		{">17", "18.0.0", true},
		{"<=17", "17.9.0", true},
		{"<=17", "18.0.0", false},
		{"<9", "8.99.99", true},
		{"<9", "9.0.0-rc.1", false},
		{"<9.0.0", "9.0.0-rc.1", true},
		{">=9", "9.0.0-rc.1", true},
		{">=9.0.0", "9.0.0-rc.1", false},
		{">=9.0.0", "9.0.0", true},
		{">=9.0.0", "10.0.0", true},
		{"!=1.2.3", "1.2.3", false},
		{"!=1.2.3", "1.2.3-a", true},
		{"!=1", "1.2.3", false},
		{"!=1", "2.0.0", true},
		{">1.0.0-rc.2", "1.0.0-rc.10", true},
		{"<1.0.0-rc", "1.0.0-11", true},
		{"=1.0.0-rc", "1.0.0-rc", true},
		{"<1.0.0", "0.9.9", true},
		{"<1.0.0-a", "1.0.0-a.b", false},
		{">1.0.0-a", "1.0.0-a.b", true},
		{"<1.0.0-a", "1.0.0", false},
	}
	for _, c := range cases {
		list, err := ParseConstraint(c.condition)
		if err != nil || len(list) != 1 {
			t.Fatalf("%q: %v", c.condition, err)
		}
		v, _ := parseSemver(c.version)
		if got := list[0].Match(v.major, v.minor, v.patch, v.pre); got != c.want {
			t.Errorf("%s %s: %v, want %v", c.version, c.condition, got, c.want)
		}
	}
	if (Constraint{Op: 99}).Match(0, 0, 0, "") {
		t.Error("an unknown operator matches")
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	list, err := ParseConstraint(">=1.0.0-rc.1.2.3,<2")
	if err != nil {
		t.Fatal(err)
	}
	matched := true
	allocs := testing.AllocsPerRun(100, func() {
		for _, c := range list {
			matched = matched && c.Match(1, 0, 0, "rc.1.2.10")
		}
	})
	if allocs != 0 || !matched {
		t.Errorf("%v allocations, matched %v", allocs, matched)
	}
}

package capgo

import "testing"

// TestOpenings holds the three tables of the known keys against each other: openings, their words, and fieldNamed.
func TestOpenings(t *testing.T) {
	for f := range fUnknown {
		opening := openings[f]
		if fieldNamed(f.name()) != f || f.name() == "" {
			t.Errorf("field %d is called %q, which is field %d", f, f.name(), fieldNamed(f.name()))
		}
		if isString := opening[len(opening)-1] == '"'; len(opening) < 8 || len(opening) > 23 || textFields.has(f) && !isString || boolFields.has(f) && isString {
			t.Errorf("opening %s", opening)
		}
		body := append([]byte(opening), make([]byte, 24)...)
		if predicted(body, 0, f) != len(opening) || predicted(body[:23], 0, f) != 0 {
			t.Errorf("%s is not predicted where it stands, or beyond the end", opening)
		}
		for i := range opening {
			body[i] ^= 1
			if predicted(body, 0, f) != 0 {
				t.Errorf("%s is predicted for %q", opening, body)
			}
			body[i] ^= 1
		}
	}
	if fieldNamed("locale") != fUnknown || predicted(make([]byte, 64), 0, fUnknown) != 0 {
		t.Error("fUnknown is taken for a known key")
	}
}

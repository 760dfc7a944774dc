package picture

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image/png"
	"io"
	"strings"
	"testing"

	"github.com/palier-ota/palier/internal/forecast"
	"github.com/palier-ota/palier/internal/rollout"
)

// drawable is a forecast with all that a picture shows.
func drawable() forecast.Forecast {
	plan, _ := rollout.BuiltinPlan("progressive")
	return forecast.Forecast{
		Plan: plan, Audience: forecast.Audience{Devices: 1234},
		Curve: forecast.Curve{
			Hours:   []float64{0, 24, 48, 72},
			Exposed: forecast.Band{Low: []float64{0, .01, .05, .4}, Median: []float64{0, .02, .1, .5}, High: []float64{0, .03, .2, .6}},
			Stopped: []forecast.StopCurve{{Name: "2× crash", Share: []float64{0, 0, .1, .2}}, {Name: "5× crash", Share: []float64{0, .5, .9, 1}}},
			Phases:  []forecast.PhaseBounds{{Name: "5%", Start: 0}, {Name: "everyone", Start: 48}},
		},
	}
}

func TestSVGIsWholeAndBringsItsFonts(t *testing.T) {
	out, err := SVG(drawable())
	if err != nil {
		t.Fatal(err)
	}
	reader := xml.NewDecoder(bytes.NewReader(out))
	for {
		if _, err := reader.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("no well-formed document: %v", err)
		}
	}
	for _, want := range []string{"1234 active devices", "2× crash", "5× crash", "everyone", "days since the start", "@font-face", "median play"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the picture lacks %q", want)
		}
	}
}

func TestPNGIsAnImage(t *testing.T) {
	out, err := PNG(drawable())
	if err != nil {
		t.Fatal(err)
	}
	image, err := png.Decode(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	colours := map[any]bool{}
	for x := range image.Bounds().Dx() {
		for y := range image.Bounds().Dy() {
			colours[image.At(x, y)] = true
		}
	}
	for i, ink := range inks()[:3] { // the median and both bundles
		r, g, b, a := ink.RGBA()
		seen := false
		for c := range colours {
			if c, ok := c.(interface{ RGBA() (r, g, b, a uint32) }); ok {
				cr, cg, cb, ca := c.RGBA()
				seen = seen || cr == r && cg == g && cb == b && ca == a
			}
		}
		if !seen {
			t.Errorf("line %d is not drawn", i)
		}
	}
	if size := image.Bounds().Size(); size.X != 1224 || size.Y != 936 {
		t.Errorf("size %v", size)
	}
}

func TestNothingToDraw(t *testing.T) {
	if _, err := SVG(forecast.Forecast{}); err == nil {
		t.Error("a forecast without a curve was drawn")
	}
	if _, err := PNG(forecast.Forecast{}); err == nil {
		t.Error("a forecast without a curve was drawn")
	}
}

func TestTicksStayFew(t *testing.T) {
	for _, length := range []float64{.5, 3, 11, 40, 200, 400} {
		if n := len(days{}.Ticks(0, length)); n < 1 || n > 13 {
			t.Errorf("%v days have %d ticks", length, n)
		}
	}
}

// Package picture draws a forecast: above, how many devices run a harmless bundle as the plan goes on; below, how soon a
// harmful one is stopped. Both share the time axis, so that one sees how far a plan has come when it finds what is wrong.
//
// It stands apart from package forecast, which is pure and small enough for a function in the cloud; drawing brings fonts
// along.
package picture

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/palier-ota/palier/internal/forecast"
)

// The size of a picture, as wide as a page of text with margins.
const (
	width  = 8.5 * vg.Inch
	height = 6.5 * vg.Inch
	dpi    = 144

	legendWidth = 1.5 * vg.Inch
)

// panel is a plot with its legend, which stands beside it where no line can cross it.
type panel struct {
	*plot.Plot
	legend plot.Legend
}

// SVG returns the picture as a document that brings its fonts along. It fails when the forecast has no curve, or holds
// numbers that cannot be drawn.
func SVG(f forecast.Forecast) ([]byte, error) {
	canvas := vgsvg.NewWith(vgsvg.UseWH(width, height), vgsvg.EmbedFonts(true))
	return drawn(f, canvas, canvas)
}

// PNG returns the picture as an image of 1224 × 936 pixels. It fails as SVG does.
func PNG(f forecast.Forecast) ([]byte, error) {
	canvas := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dpi))
	return drawn(f, canvas, vgimg.PngCanvas{Canvas: canvas})
}

func drawn(f forecast.Forecast, canvas vg.CanvasSizer, file io.WriterTo) ([]byte, error) {
	panels, err := panelsOf(f)
	if err != nil {
		return nil, fmt.Errorf("drawing the forecast: %w", err)
	}
	page := draw.New(canvas)
	page.SetColor(color.White)
	page.Fill(page.Rectangle.Path())
	page = draw.Crop(page, vg.Points(12), -vg.Points(12), vg.Points(10), -vg.Points(8))
	left, right := draw.Crop(page, 0, -legendWidth, 0, 0), page.Max.X-legendWidth+vg.Points(8)
	plots := [][]*plot.Plot{{panels[0].Plot}, {panels[1].Plot}}
	for i, row := range plot.Align(plots, draw.Tiles{Rows: len(plots), Cols: 1, PadY: vg.Points(14)}, left) {
		panels[i].Draw(row[0])
		beside := row[0]
		beside.Min.X, beside.Max.X, beside.Max.Y = right, page.Max.X, beside.Max.Y-vg.Points(24)
		panels[i].legend.Draw(beside)
	}
	var out bytes.Buffer
	if _, err := file.WriteTo(&out); err != nil {
		return nil, fmt.Errorf("writing the picture: %w", err)
	}
	return out.Bytes(), nil
}

// panelsOf returns the upper panel and the lower one.
func panelsOf(f forecast.Forecast) (panels [2]panel, err error) {
	if len(f.Curve.Hours) < 2 {
		return panels, fmt.Errorf("it has a curve of %d points, and a line needs two", len(f.Curve.Hours))
	}
	if panels[0], err = exposure(f); err != nil {
		return panels, err
	}
	panels[1], err = stops(f)
	return panels, err
}

// exposure draws the share of devices that have run a harmless bundle.
func exposure(f forecast.Forecast) (panel, error) {
	c := f.Curve
	p := empty(c, fmt.Sprintf("%s, %d active devices: share that has run a harmless bundle", planName(f), f.Audience.Devices), "% of devices")
	outline, low := points(c.Hours, c.Exposed.High), points(c.Hours, c.Exposed.Low)
	slices.Reverse(low)
	band, err := plotter.NewPolygon(append(outline, low...))
	if err != nil {
		return p, err
	}
	blue := inks()[0]
	band.Color, band.LineStyle.Width = color.NRGBA{R: blue.R, G: blue.G, B: blue.B, A: 70}, 0
	median, err := line(c.Hours, c.Exposed.Median, 0)
	if err != nil {
		return p, err
	}
	p.Add(band, median)
	p.legend.Add("median play", median)
	p.legend.Add("8 plays of 10", band)
	return p, p.addPhases(c)
}

// stops draws, for every harmful bundle, the share of plays in which it has been stopped.
func stops(f forecast.Forecast) (panel, error) {
	p := empty(f.Curve, "Chance that a harmful bundle has been stopped", "% of plays")
	p.X.Label.Text = "days since the start"
	for i, s := range f.Curve.Stopped {
		l, err := line(f.Curve.Hours, s.Share, i+1)
		if err != nil {
			return p, err
		}
		p.Add(l)
		p.legend.Add(s.Name, l)
	}
	return p, nil
}

// empty is a panel over the time of the curve, from 0 to 100 %.
func empty(c forecast.Curve, title, unit string) panel {
	p := panel{Plot: plot.New(), legend: plot.NewLegend()}
	p.Title.Text, p.Y.Label.Text = title, unit
	p.Title.Padding = vg.Points(6)
	p.X.Min, p.X.Max = 0, c.Hours[len(c.Hours)-1]/24
	p.Y.Min, p.Y.Max = 0, 100
	p.X.Tick.Marker, p.Y.Tick.Marker = days{}, percents{}
	p.legend.Top, p.legend.Left, p.legend.Padding = true, true, vg.Points(3)
	for style, size := range map[*text.Style]vg.Length{
		&p.Title.TextStyle: 12, &p.X.Label.TextStyle: 10, &p.Y.Label.TextStyle: 10,
		&p.X.Tick.Label: 9, &p.Y.Tick.Label: 9, &p.legend.TextStyle: 10,
	} {
		style.Font.Variant, style.Font.Size = "Sans", vg.Points(float64(size))
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{Y: 232}, color.Gray{Y: 232}
	p.Add(grid)
	return p
}

// addPhases marks where the median harmless bundle enters each phase.
func (p panel) addPhases(c forecast.Curve) error {
	var places plotter.XYs
	var names []string
	for _, phase := range c.Phases {
		day := phase.Start / 24
		mark, err := plotter.NewLine(plotter.XYs{{X: day, Y: 0}, {X: day, Y: 100}})
		if err != nil {
			return err
		}
		mark.Color, mark.Dashes = color.Gray{Y: 130}, []vg.Length{vg.Points(3), vg.Points(3)}
		p.Add(mark)
		places, names = append(places, plotter.XY{X: day, Y: 92}), append(names, " "+phase.Name)
	}
	labels, err := plotter.NewLabels(plotter.XYLabels{XYs: places, Labels: names})
	if err != nil {
		return err
	}
	for i := range labels.TextStyle {
		labels.TextStyle[i].Font.Variant, labels.TextStyle[i].Font.Size = "Sans", vg.Points(9)
		labels.TextStyle[i].Color = color.Gray{Y: 70}
	}
	p.Add(labels)
	return nil
}

func line(hours, shares []float64, ink int) (*plotter.Line, error) {
	l, err := plotter.NewLine(points(hours, shares))
	if err != nil {
		return nil, err
	}
	l.Color, l.Width = inks()[ink%len(inks())], vg.Points(1.8)
	return l, nil
}

// points turns hours into days and shares into percent.
func points(hours, shares []float64) plotter.XYs {
	xys := make(plotter.XYs, 0, len(hours))
	for i := range min(len(hours), len(shares)) {
		xys = append(xys, plotter.XY{X: hours[i] / 24, Y: 100 * shares[i]})
	}
	return xys
}

// inks are colours that colour-blind readers can tell apart: Okabe and Ito, Color universal design, 2008.
func inks() []color.NRGBA {
	return []color.NRGBA{
		{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}, {R: 0xe6, G: 0x9f, B: 0x00, A: 0xff}, {R: 0xd5, G: 0x5e, B: 0x00, A: 0xff},
		{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff}, {R: 0x00, G: 0x00, B: 0x00, A: 0xff}, {R: 0x00, G: 0x9e, B: 0x73, A: 0xff},
		{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff}, {R: 0x80, G: 0x80, B: 0x80, A: 0xff}, {R: 0xf0, G: 0xe4, B: 0x42, A: 0xff},
	}
}

func planName(f forecast.Forecast) string {
	if f.Plan.Name == "" {
		return "without a name"
	}
	return f.Plan.Name
}

// days are the ticks of the time axis: whole days, at most a dozen of them.
type days struct{}

// Ticks implements plot.Ticker.
func (days) Ticks(from, to float64) []plot.Tick {
	step := 1
	for _, wider := range [...]int{2, 5, 7, 14, 28, 56} {
		if (to-from)/float64(step) > 12 {
			step = wider
		}
	}
	var ticks []plot.Tick
	for day := 0; float64(day) <= to; day += step {
		ticks = append(ticks, plot.Tick{Value: float64(day), Label: fmt.Sprint(day)})
	}
	return ticks
}

// percents are the ticks of a share.
type percents struct{}

// Ticks implements plot.Ticker.
func (percents) Ticks(_, _ float64) []plot.Tick {
	var ticks []plot.Tick
	for share := 0; share <= 100; share += 25 {
		ticks = append(ticks, plot.Tick{Value: float64(share), Label: fmt.Sprint(share)})
	}
	return ticks
}

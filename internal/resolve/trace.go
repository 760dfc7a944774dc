package resolve

import (
	"strconv"
	"strings"

	"github.com/palier-ota/palier/internal/rollout"
)

// Step is one thing that mattered to a Decision, for the operator's eyes: it tells positions, so it must never reach a
// device.
type Step struct {
	Name   string `json:"name"`
	Passed bool   `json:"passed"` // the step spoke for giving the device something
	Detail string `json:"detail"`
}

// Explain is Resolve with its reasons, in the order in which they were looked at. The decision is made by the same code.
func (s *Snapshot) Explain(c *Check, f *Facts) (Decision, []Step) {
	var d Decision
	var t tracer
	s.decide(c, f, &d, &t)
	return d, t.steps
}

// tracer collects Steps. Decisions that nobody asks to explain have none.
type tracer struct{ steps []Step }

func (t *tracer) add(name string, passed bool, detail ...string) {
	t.steps = append(t.steps, Step{Name: name, Passed: passed, Detail: strings.Join(detail, "")})
}

func (t *tracer) channel(s *Snapshot, c *Check, f *Facts, d *Decision) {
	if f != nil && f.Channel != "" && d.Source != SourceOwn {
		t.add("own channel", false, "the device's own channel ", strconv.Quote(f.Channel), " does not exist; ignored")
	}
	switch d.Source {
	case SourceOwn:
		t.add("channel", true, strconv.Quote(d.Channel.Name), ": the device's own, set by ", setBy(f))
	case SourceDefault:
		t.add("channel", true, strconv.Quote(d.Channel.Name), ": named by the device as defaultChannel")
	case SourcePublic:
		t.add("channel", true, strconv.Quote(d.Channel.Name), ": the public channel of ", c.Platform.String())
	case SourceNone:
		t.add("channel", false, s.whyNoChannel(c))
	}
}

func setBy(f *Facts) string {
	if f.SetBy == "" {
		return "an operator"
	}
	return "the " + f.SetBy
}

func (s *Snapshot) whyNoChannel(c *Check) string {
	if c.DefaultChannel == "" {
		return "no channel is public for " + c.Platform.String()
	}
	name := "defaultChannel " + strconv.Quote(c.DefaultChannel)
	ch := s.ChannelByName(c.DefaultChannel)
	switch {
	case ch == nil:
		return name + " does not exist"
	case !ch.On(c.Platform):
		return name + " is off for " + c.Platform.String()
	}
	return name + " is neither public nor open to devices"
}

func (t *tracer) rollout(r *Rollout, at uint32) {
	state := "running"
	if r.Paused {
		state = "paused: only devices that run the candidate already get it"
	}
	t.add("rollout", !r.Paused, r.ID, " of ", r.candidate.Version, " against ", name(r.baseline), ", phase ",
		strconv.Itoa(r.Phase+1), ", ", state)
	t.add("position", true, percent(at), " %")
}

func (t *tracer) cut(phase int, k *cut, member bool, at uint32) {
	audience := "every device"
	if len(k.segments) > 0 {
		names := make([]string, len(k.segments))
		for i, g := range k.segments {
			names[i] = strconv.Quote(g.name)
		}
		audience = "segments " + strings.Join(names, ", ")
	}
	verdict := "admits the device"
	switch {
	case !member:
		verdict = "the device is not among them"
	case at >= k.below:
		verdict = "the device's position is not below that"
	}
	t.add("phase "+strconv.Itoa(phase+1), member && at < k.below,
		percent(k.below), " % of ", audience, ": ", verdict)
}

func (t *tracer) followed(audience, phase int) {
	t.add("follows", true, "replaced rollout ", strconv.Itoa(audience+1), " had admitted the device in its phase ",
		strconv.Itoa(phase+1))
}

func (t *tracer) weighed(c *Check, ch *Channel, b *Bundle, r Reason) {
	t.add("bundle "+name(b), r == Offer || r == OfferBuiltin, "policy ", string(ch.DisableAutoUpdate),
		", native ", c.VersionBuild, ", running ", c.VersionName, ", plugin ", c.PluginVersion, ": ", r.String())
}

func (t *tracer) facts(f *Facts, b *Bundle, bar Reason) {
	detail := "nothing known of the device speaks against " + name(b)
	switch bar {
	case BundleFailedOnDevice:
		detail = name(b) + " failed on the device; it failed there: " + strings.Join(f.Failed, ", ")
	case ConsentRequired:
		detail = name(b) + " needs the user's consent, which the device has not reported"
	}
	t.add("facts", bar == ReasonNone, detail)
}

func (t *tracer) outcome(c *Check, d *Decision) {
	detail := d.Reason.Code(c.Platform)
	if detail == "" {
		detail = d.Reason.String()
	}
	if d.Bundle != nil {
		detail += ", bundle " + d.Bundle.Version
	}
	if d.Rollout != nil {
		detail += ", arm " + d.Arm.String()
	}
	t.add("decision", d.Reason == Offer || d.Reason == OfferBuiltin, detail)
}

// percent writes a number of positions as a share in percent, with all seven decimals where there are any.
func percent(positions uint32) string {
	const one = uint32(rollout.OnePercent)
	whole := strconv.FormatUint(uint64(positions/one), 10)
	if positions%one == 0 {
		return whole
	}
	return whole + "." + strconv.FormatUint(uint64(one+positions%one), 10)[1:]
}

// name returns a bundle's version, or "builtin" for the store build.
func name(b *Bundle) string {
	if b == nil {
		return rollout.Builtin
	}
	return b.Version
}

package rollout

import (
	"maps"
	"slices"
	"strconv"
)

// Live returns the live rollout on the channel of that name: scheduled, running or paused. There is at most one.
func (s State) Live(channel string) (Rollout, bool) {
	for _, r := range s.Rollouts {
		if r.Channel == channel && r.State.Live() {
			return r, true
		}
	}
	return Rollout{}, false
}

// PlanNamed returns the plan of that name, resolved: the operator's own or a built-in one. No name means DefaultPlan.
func (s State) PlanNamed(name string) (Plan, bool) {
	if name == "" {
		name = DefaultPlan
	}
	if plan, ok := BuiltinPlan(name); ok {
		return plan, true
	}
	plan, ok := s.Plans[name]
	if !ok {
		return Plan{}, false
	}
	plan.Name = name
	return Resolve(plan), true
}

// WithBundle returns s with b valid and added or replaced. What b says of Served is ignored: only the server sets it. A
// bundle that was served cannot be replaced by one with other content (code bundle_immutable), nor can one come back
// with other content after it was removed; with the same it is Served again.
func (s State) WithBundle(b Bundle) (State, error) {
	old, exists := s.Bundles[b.Version]
	b.Served = exists && old.Served
	if b.Served && !b.SameContent(old) {
		return s, Error{
			Code: CodeBundleImmutable, Field: "version",
			Message: "bundle " + b.Version + " was served to devices and cannot change; publish the new content under a new version",
		}
	}
	if content, retired := s.retired(b.Version); retired && !exists {
		if content != b.fingerprint() {
			return s, Error{
				Code: CodeBundleImmutable, Field: "version",
				Message: "bundle " + b.Version + " was served to devices before it was removed and can only come back exactly as it was; publish the new content under a new version",
			}
		}
		b.Served = true
	}
	if err := b.Validate(); err != nil {
		return s, err
	}
	s.Bundles = withEntry(s.Bundles, b.Version, b)
	return s, nil
}

// WithoutBundles returns s less the bundles of these versions; those that were served are remembered in Retired. Whether
// something still refers to them is for Validate to see.
func (s State) WithoutBundles(versions ...string) State {
	bundles, retired := maps.Clone(s.Bundles), slices.Clone(s.Retired)
	for _, version := range versions {
		b := bundles[version]
		delete(bundles, version)
		if !b.Served {
			continue
		}
		retired = slices.DeleteFunc(retired, func(r RetiredBundle) bool { return r.Version == version })
		retired = append(retired, RetiredBundle{Version: version, Content: b.fingerprint()})
	}
	s.Bundles, s.Retired = bundles, retired[max(0, len(retired)-MaxRetired):]
	return s
}

// retired returns the fingerprint of the removed bundle of that version, if it is remembered.
func (s State) retired(version string) (content string, ok bool) {
	i := slices.IndexFunc(s.Retired, func(r RetiredBundle) bool { return r.Version == version })
	if i < 0 {
		return "", false
	}
	return s.Retired[i].Content, true
}

// WithChannel returns s with c valid and added or replaced, and the bundle that it points at marked Served. What c says
// of Number and Kept is ignored: a new channel gets the next free Number, and Kept lasts until the channel points at
// another bundle. That is refused during a live rollout (code live_rollout_exists), whose comparison it would spoil.
func (s State) WithChannel(c Channel) (State, error) {
	old, exists := s.Channels[c.Name]
	c.Number, c.Kept = old.Number, old.Kept
	if !exists {
		c.Number = s.nextChannelNumber()
	}
	if exists && storedBundle(old) != storedBundle(c) {
		if live, ok := s.Live(c.Name); ok {
			return s, liveRolloutExists("bundle", live)
		}
		c.Kept = nil
	}
	if err := c.Validate(); err != nil {
		return s, err
	}
	if !isStoreBuild(c.Bundle) {
		b, ok := s.Bundles[c.Bundle]
		if !ok {
			return s, unknownBundle("bundle", c.Bundle)
		}
		b.Served = true
		s.Bundles = withEntry(s.Bundles, b.Version, b)
	}
	s.Channels = withEntry(s.Channels, c.Name, c)
	return s, nil
}

func (s State) nextChannelNumber() int64 {
	var highest int64
	for _, c := range s.Channels {
		highest = max(highest, c.Number)
	}
	return highest + 1
}

// storedBundle returns the bundle that c serves, with one spelling for the store build: "".
func storedBundle(c Channel) string {
	if isStoreBuild(c.Bundle) {
		return ""
	}
	return c.Bundle
}

// ApplyTo returns s with what t changes. It leaves s and its maps untouched and the Revision as it is: that is raised by
// whoever commits.
func (t Transition) ApplyTo(s State) State {
	for _, b := range t.Bundles {
		s.Bundles = withEntry(s.Bundles, b.Version, b)
	}
	if t.Channel.Name != "" {
		s.Channels = withEntry(s.Channels, t.Channel.Name, t.Channel)
	}
	for _, r := range t.Rollouts {
		s.Rollouts = withEntry(s.Rollouts, r.ID, r)
	}
	return s
}

// withEntry returns a copy of m that has value at key.
func withEntry[V any](m map[string]V, key string, value V) map[string]V {
	out := make(map[string]V, len(m)+1)
	maps.Copy(out, m)
	out[key] = value
	return out
}

// Validate checks what no entity can know of itself: that every reference within s leads somewhere, that a platform has
// one public channel at most and that a channel has one live rollout at most. Ended rollouts are history and may name
// what is gone. It does not repeat the checks of the single entities. The error, if any, is Errors, in a fixed order.
func (s State) Validate() error {
	var p problems
	s.checkKeys(&p)
	for _, name := range sortedKeys(s.Channels) {
		s.checkChannel(&p, s.Channels[name])
	}
	s.checkPublicChannels(&p)
	for _, id := range sortedKeys(s.Devices) {
		if channel := s.Devices[id].Channel; channel != "" {
			s.checkChannelExists(&p, under("devices", id, "channel"), channel)
		}
	}
	for _, name := range sortedKeys(s.Plans) {
		_, builtin := BuiltinPlan(name)
		p.require(!builtin, CodeReservedName, under("plans", name, "name"),
			strconv.Quote(name)+" is a built-in plan; choose another name")
		s.checkPhases(&p, under("plans", name, ""), s.Plans[name].Phases)
	}
	s.checkRollouts(&p)
	return p.err()
}

// checkKeys requires that every entity is filed under its own name.
func (s State) checkKeys(p *problems) {
	checkFiled(p, "bundles", s.Bundles, func(b Bundle) string { return b.Version })
	checkFiled(p, "channels", s.Channels, func(c Channel) string { return c.Name })
	checkFiled(p, "segments", s.Segments, func(g Segment) string { return g.Name })
	checkFiled(p, "devices", s.Devices, func(d Device) string { return d.DeviceID })
	checkFiled(p, "plans", s.Plans, func(plan Plan) string { return plan.Name })
	checkFiled(p, "rollouts", s.Rollouts, func(r Rollout) string { return r.ID })
}

func checkFiled[V any](p *problems, set string, entries map[string]V, name func(V) string) {
	for _, key := range sortedKeys(entries) {
		p.require(name(entries[key]) == key, CodeNameMismatch, under(set, key, ""),
			strconv.Quote(clip(name(entries[key])))+" is not the name that it is filed under; give it that name")
	}
}

func (s State) checkChannel(p *problems, c Channel) {
	if _, ok := s.Bundles[c.Bundle]; !ok && !isStoreBuild(c.Bundle) {
		p.list = append(p.list, unknownBundle(under("channels", c.Name, "bundle"), c.Bundle))
	}
	for i, version := range c.Kept {
		if _, ok := s.Bundles[version]; !ok {
			p.add(CodeUnknownBundle, under("channels", c.Name, at("kept", i, "")),
				"bundle "+strconv.Quote(version)+" of a halted rollout is still kept by devices; point the channel at another bundle before you remove it")
		}
	}
}

func (s State) checkPublicChannels(p *problems) {
	for _, platform := range [...]struct {
		name   string
		serves func(Channel) bool
	}{
		{"ios", func(c Channel) bool { return c.IOS }},
		{"android", func(c Channel) bool { return c.Android }},
		{"electron", func(c Channel) bool { return c.Electron }},
	} {
		first := ""
		for _, name := range sortedKeys(s.Channels) {
			c := s.Channels[name]
			if !c.Public || !platform.serves(c) {
				continue
			}
			if first == "" {
				first = name
				continue
			}
			p.add(CodePublicChannelConflict, under("channels", name, platform.name),
				"channel "+strconv.Quote(first)+" already is the public channel of "+platform.name+"; set public or "+platform.name+" to false in one of them")
		}
	}
}

func (s State) checkRollouts(p *problems) {
	live := map[string]string{} // channel → id of its live rollout
	for _, id := range sortedKeys(s.Rollouts) {
		r := s.Rollouts[id]
		if !r.State.Live() {
			continue
		}
		if other, taken := live[r.Channel]; taken {
			p.list = append(p.list, liveRolloutExists(under("rollouts", id, "channel"), s.Rollouts[other]))
		}
		live[r.Channel] = id
		s.checkChannelExists(p, under("rollouts", id, "channel"), r.Channel)
		for _, use := range [...]struct{ field, version string }{{"bundle", r.Bundle}, {"baseline", r.Baseline}} {
			if _, ok := s.Bundles[use.version]; !ok && !(use.field == "baseline" && isStoreBuild(use.version)) {
				p.list = append(p.list, unknownBundle(under("rollouts", id, use.field), use.version))
			}
		}
		s.checkPhases(p, under("rollouts", id, "plan"), r.Plan.Phases)
		for i, audience := range r.Follows {
			for j, cut := range audience.Cuts {
				s.checkSegments(p, under("rollouts", id, at("follows", i, at("cuts", j, "segments"))), cut.Segments)
			}
		}
	}
}

func (s State) checkChannelExists(p *problems, field, name string) {
	_, ok := s.Channels[name]
	p.require(ok, CodeUnknownChannel, field,
		"channel "+strconv.Quote(clip(name))+" does not exist; add it under channels: in the app's document, or name an existing one")
}

func (s State) checkPhases(p *problems, owner string, phases []Phase) {
	for i, phase := range phases {
		field := at("phases", i, "segments")
		if owner != "" {
			field = owner + "." + field
		}
		s.checkSegments(p, field, phase.Segments)
	}
}

func (s State) checkSegments(p *problems, field string, names []string) {
	for i, name := range names {
		_, ok := s.Segments[name]
		p.require(ok, CodeUnknownSegment, at(field, i, ""),
			"segment "+strconv.Quote(clip(name))+" does not exist; add it under segments: in the app's document, or use a plan without it")
	}
}

func unknownBundle(field, version string) Error {
	return Error{Code: CodeUnknownBundle, Field: field, Message: "bundle " + strconv.Quote(clip(version)) + " does not exist; add it under bundles: in the app's document"}
}

func liveRolloutExists(field string, live Rollout) Error {
	return Error{
		Code: CodeLiveRolloutExists, Field: field,
		Message: "rollout " + live.ID + " of bundle " + live.Bundle + " is " + string(live.State) + " on channel " +
			strconv.Quote(live.Channel) + "; complete, halt or roll it back first, or start a hotfix that takes over from it",
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

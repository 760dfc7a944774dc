package capgo

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/palier-ota/palier/internal/resolve"
)

// Effect is what a channel call changes in the device's record.
type Effect uint8

// The effects. A host that cannot make one durable answers ChannelNotStored instead of the call's own body.
const (
	EffectNone  Effect = iota
	EffectSet          // the device's own channel becomes ChannelAnswer.Channel
	EffectClear        // the device has no channel of its own any more
)

// ChannelAnswer is the answer to a call of /channel_self, always with StatusOK, and what the host has to do first.
type ChannelAnswer struct {
	Body    []byte
	Effect  Effect
	Channel string // of EffectSet: the channel's name, which outlives the request
}

const defaultChannelName = "production" // what a plugin that keeps its channel itself is told when it keeps none

// ChannelNotStored is the answer when the device's record could not be written.
func ChannelNotStored() []byte {
	return channelError("channel_self_server_storage_unavailable", "the channel could not be stored, try again later").Body
}

func channelError(code, message string) ChannelAnswer {
	r := Refusal{Status: StatusOK, Code: code, Message: message}
	return ChannelAnswer{Body: r.Append(nil)}
}

// SetChannel answers POST, by which a device asks to be put on the named channel; "" is none. f is the device's record.
//
// Plugins from x.34.0 on keep the channel themselves and only ask whether they may. For older ones the host keeps it, as
// an override; going to the platform's public channel is the same as having no override.
func SetChannel(s *resolve.Snapshot, c *resolve.Check, f *resolve.Facts, name string) ChannelAnswer {
	if name == "" {
		return channelError("missing_channel", "channel is required")
	}
	keeps := resolve.StoresChannelOnDevice(c.Plugin)
	if own := s.ChannelByName(f.Channel); own != nil && !keeps && !own.AllowDeviceSelfSet {
		return cannotOverride()
	}
	ch := s.ChannelByName(name)
	switch {
	case ch == nil:
		return channelNotFound()
	case !ch.AllowDeviceSelfSet && ch.Public:
		return channelError("public_channel_self_set_not_allowed", "this public channel does not let devices choose it")
	case !ch.AllowDeviceSelfSet:
		return channelError("channel_self_set_not_allowed", "this channel does not let devices choose it")
	case keeps:
		return ChannelAnswer{Body: []byte(`{"status":"ok","allowSet":true}`)}
	case ch == s.PublicChannel(c.Platform):
		return ChannelAnswer{Body: []byte(HealthBody), Effect: EffectClear}
	}
	return ChannelAnswer{Body: []byte(HealthBody), Effect: EffectSet, Channel: ch.Name}
}

// GetChannel answers PUT, by which a device asks which channel it is on; name is the channel in the request, "" if none.
func GetChannel(s *resolve.Snapshot, c *resolve.Check, f *resolve.Facts, name string) ChannelAnswer {
	if resolve.StoresChannelOnDevice(c.Plugin) {
		return channelKeptByDevice(c, name)
	}
	if own := s.ChannelByName(f.Channel); own != nil {
		return channelIs(own.Name, "override", strconv.FormatBool(own.AllowDeviceSelfSet))
	}
	ch := s.PublicChannel(c.Platform)
	if c.DefaultChannel != "" {
		ch = s.ChannelByName(c.DefaultChannel) // named, not used: whether it serves the device is for the update check to say
	}
	if ch == nil {
		return channelNotFound()
	}
	return channelIs(ch.Name, "default", "")
}

func channelKeptByDevice(c *resolve.Check, name string) ChannelAnswer {
	switch {
	case name != "":
		return channelIs(name, "override", "true")
	case c.DefaultChannel != "":
		return channelIs(c.DefaultChannel, "default", "")
	}
	return channelIs(defaultChannelName, "default", "")
}

// UnsetChannel answers DELETE, by which a device gives up its own channel.
func UnsetChannel(s *resolve.Snapshot, c *resolve.Check, f *resolve.Facts) ChannelAnswer {
	if resolve.StoresChannelOnDevice(c.Plugin) {
		return ChannelAnswer{Body: []byte(HealthBody)}
	}
	if own := s.ChannelByName(f.Channel); own == nil || !own.AllowDeviceSelfSet {
		return cannotOverride()
	}
	return ChannelAnswer{Body: []byte(HealthBody), Effect: EffectClear}
}

// ListChannels answers GET: an array of the channels that a device like this one may use, the oldest first.
func ListChannels(s *resolve.Snapshot, c *resolve.Check) ChannelAnswer {
	var list []*resolve.Channel
	channels := s.Channels()
	for i := range channels {
		if offered(&channels[i], c) {
			list = append(list, &channels[i])
		}
	}
	slices.SortStableFunc(list, func(a, b *resolve.Channel) int { return cmp.Compare(a.Number, b.Number) })
	body := []byte{'['}
	for i, ch := range list {
		if i > 0 {
			body = append(body, ',')
		}
		body = strconv.AppendInt(append(body, `{"id":`...), ch.Number, 10)
		body = appendMember(append(body, ','), "name", ch.Name)
		body = strconv.AppendBool(append(body, `,"public":`...), ch.Public)
		body = strconv.AppendBool(append(body, `,"allow_self_set":`...), ch.AllowDeviceSelfSet)
		body = append(body, '}')
	}
	return ChannelAnswer{Body: append(body, ']')}
}

// offered reports whether a channel is listed to a device.
func offered(ch *resolve.Channel, c *resolve.Check) bool {
	device, build := ch.AllowDevice, ch.AllowDev
	if c.IsEmulator {
		device = ch.AllowEmulator
	}
	if c.IsProd {
		build = ch.AllowProd
	}
	return ch.On(c.Platform) && device && build && (ch.Public || ch.AllowDeviceSelfSet)
}

func channelNotFound() ChannelAnswer {
	return channelError("channel_not_found", "the app has no such channel")
}

func cannotOverride() ChannelAnswer {
	return channelError("cannot_override", "the device has no channel of its own that it may change")
}

// channelIs says which channel a device is on; allowSet is left out when empty.
func channelIs(name, status, allowSet string) ChannelAnswer {
	body := appendMember([]byte{'{'}, "channel", name)
	body = appendMember(append(body, ','), "status", status)
	if allowSet != "" {
		body = append(append(body, `,"allowSet":`...), allowSet...)
	}
	return ChannelAnswer{Body: append(body, '}')}
}

package device

import (
	"context"
	"net/http"
	"strings"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
)

// ChannelSelf answers /channel_self: a device chooses, asks for, leaves or lists channels.
func (s *Service) ChannelSelf(ctx context.Context, method, query string, body, dst []byte) Answer {
	r := s.requests.Get().(*capgo.Request)
	defer s.requests.Put(r)
	if refusal := parseChannelCall(r, method, query, body); refusal != nil {
		return s.refuse(refusal, dst)
	}
	l, refusal := s.load(ctx, r.Check.AppID)
	if refusal != nil {
		return s.refuse(refusal, dst)
	}
	if method == http.MethodGet {
		return Answer{Status: capgo.StatusOK, Body: append(dst, capgo.ListChannels(l.snapshot, &r.Check).Body...)}
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	facts, err := s.channelFacts(ctx, &r.Check)
	if err != nil {
		return s.notStored(err, dst)
	}
	generation := l.snapshot.Generation()
	facts = facts.Of(generation)
	a := answerChannelCall(l.snapshot, r, method, &facts)
	if err := s.carryOut(ctx, &r.Check, generation, a); err != nil {
		return s.notStored(err, dst)
	}
	return Answer{Status: capgo.StatusOK, Body: append(dst, a.Body...)}
}

// channelFacts returns the device's record. Plugins that keep their channel themselves are answered without.
func (s *Service) channelFacts(ctx context.Context, c *resolve.Check) (resolve.Facts, error) {
	if resolve.StoresChannelOnDevice(c.Plugin) {
		return resolve.Facts{}, nil
	}
	return s.config.Devices.Facts(ctx, c.AppID, c.DeviceID)
}

func parseChannelCall(r *capgo.Request, method, query string, body []byte) *capgo.Refusal {
	switch method {
	case http.MethodPost, http.MethodPut:
		return r.ParseChannel(body)
	case http.MethodDelete:
		return r.ParseUnset(query, body)
	case http.MethodGet:
		return r.ParseList(query)
	}
	return &capgo.Refusal{
		Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Message: "this path wants POST, PUT, DELETE or GET",
	}
}

func answerChannelCall(snap *resolve.Snapshot, r *capgo.Request, method string, f *resolve.Facts) capgo.ChannelAnswer {
	switch method {
	case http.MethodPost:
		return capgo.SetChannel(snap, &r.Check, f, r.Channel)
	case http.MethodPut:
		return capgo.GetChannel(snap, &r.Check, f, r.Channel)
	}
	return capgo.UnsetChannel(snap, &r.Check, f)
}

// notStored answers a channel call whose record could not be read or written.
func (s *Service) notStored(err error, dst []byte) Answer {
	if s.trouble.now(s.config.Now()) {
		s.config.Log.Error("a device's channel could not be stored", "error", err)
	}
	return Answer{Status: capgo.StatusOK, Body: append(dst, capgo.ChannelNotStored()...)}
}

// setByDevice marks a channel that a device chose itself.
const setByDevice = "device"

// carryOut makes the effect of a channel call durable: first the app's bitmap of devices that may have a channel of
// their own, then the device's record, so that no decision can miss a record that is there.
func (s *Service) carryOut(ctx context.Context, c *resolve.Check, generation int64, a capgo.ChannelAnswer) error {
	switch a.Effect {
	case capgo.EffectSet:
		if err := s.owners.add(ctx, strings.Clone(c.AppID), strings.Clone(c.DeviceID)); err != nil {
			return err
		}
		return s.config.Devices.Update(ctx, c.AppID, c.DeviceID, func(f *resolve.Facts) bool {
			*f = f.Of(generation)
			changed := f.Channel != a.Channel || f.SetBy != setByDevice
			f.Channel, f.SetBy = a.Channel, setByDevice
			return changed
		})
	case capgo.EffectClear:
		return s.config.Devices.Update(ctx, c.AppID, c.DeviceID, func(f *resolve.Facts) bool {
			*f = f.Of(generation)
			changed := f.Channel != ""
			f.Channel, f.SetBy = "", ""
			return changed
		})
	}
	return nil
}

// ManifestSize answers POST /updates/manifest_size. Bundles that Palier did not pack have no known file sizes.
func (s *Service) ManifestSize(ctx context.Context, body, dst []byte) Answer {
	r := s.requests.Get().(*capgo.Request)
	defer s.requests.Put(r)
	files, refusal := r.ParseManifestSize(body)
	if refusal != nil {
		return s.refuse(refusal, dst)
	}
	if _, refusal := s.load(ctx, r.Check.AppID); refusal != nil {
		return s.refuse(refusal, dst)
	}
	return Answer{Status: capgo.StatusOK, Body: capgo.AppendManifestSizes(dst, files, nil)}
}

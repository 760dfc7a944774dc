package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/palier-ota/palier/internal/capgo"
	"github.com/palier-ota/palier/internal/resolve"
	"github.com/palier-ota/palier/internal/rollout"
	"github.com/palier-ota/palier/internal/store"
)

type explainInput struct {
	AppPath
	DeviceID       string `query:"device_id" required:"true" maxLength:"64" example:"00009a6b-eefe-490a-9c60-8e965132ae51"`
	Platform       string `query:"platform" enum:"ios,android,electron" doc:"ios if left out"`
	VersionName    string `query:"version_name" maxLength:"128" doc:"The running bundle; builtin, the store build, if left out"`
	VersionBuild   string `query:"version_build" maxLength:"128" doc:"The native version; the newest bundle's major version if left out, so that 2.4.1 gives 2.0.0"`
	VersionOS      string `query:"version_os" maxLength:"64" doc:"17 if left out"`
	PluginVersion  string `query:"plugin_version" maxLength:"64" doc:"8.0.0 if left out"`
	CustomID       string `query:"custom_id" maxLength:"64"`
	DefaultChannel string `query:"default_channel" maxLength:"128"`
	KeyID          string `query:"key_id" maxLength:"64"`
	InstallSource  string `query:"install_source" maxLength:"64"`
	IsProd         string `query:"is_prod" enum:"true,false" doc:"true if left out"`
	IsEmulator     string `query:"is_emulator" enum:"true,false" doc:"false if left out"`
}

// ExplainView is what a device would be answered now, and why.
type ExplainView struct {
	App      string            `json:"app"`
	DeviceID string            `json:"device_id"`
	Revision int64             `json:"revision" doc:"Of the snapshot that decided"`
	Summary  string            `json:"summary" doc:"The decision in a sentence"`
	Decision DecisionView      `json:"decision"`
	Steps    []resolve.Step    `json:"steps" doc:"What was looked at, in order"`
	Facts    DeviceView        `json:"facts" doc:"What the device's own record says"`
	Assumed  map[string]string `json:"assumed" doc:"What was not given, and what was taken instead"`
}

// DecisionView is a resolve.Decision in words.
type DecisionView struct {
	Reason    string `json:"reason" doc:"offer, or why there is none" example:"offer"`
	Code      string `json:"code,omitempty" doc:"The code that the plugin is sent when there is no offer"`
	Kind      string `json:"kind,omitempty" doc:"up_to_date, blocked or failed when there is no offer"`
	Message   string `json:"message,omitempty"`
	Bundle    string `json:"bundle,omitempty" doc:"The bundle that the answer is about"`
	Channel   string `json:"channel,omitempty"`
	Source    string `json:"source,omitempty" doc:"What chose the channel"`
	Rollout   string `json:"rollout,omitempty" doc:"The live rollout on the channel"`
	Phase     int    `json:"phase" doc:"Its current phase, counted from 0"`
	Arm       string `json:"arm,omitempty" doc:"The device's side in its comparison"`
	Admitted  bool   `json:"admitted" doc:"The rollout's audience so far includes the device"`
	Candidate bool   `json:"candidate" doc:"The bundle is the rollout's candidate, or one that devices keep"`
}

// explain asks the snapshot that answers devices what it would answer this one.
func (s *Service) explain(ctx context.Context, in *explainInput) (*object[ExplainView], error) {
	item, err := s.apps.Snapshot(ctx, in.App)
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound("app", in.App)
	}
	if err != nil {
		return nil, err
	}
	spec, err := item.Spec()
	if err != nil {
		return nil, err
	}
	snapshot, err := resolve.Compile(spec)
	if err != nil {
		return nil, err
	}
	var request capgo.Request
	assumed, err := readCheck(&request, in, spec.Versions)
	if err != nil {
		return nil, err
	}
	check := &request.Check
	facts, err := s.devices.Facts(ctx, in.App, check.DeviceID)
	if err != nil {
		return nil, err
	}
	facts = facts.Of(spec.Generation)
	state, err := s.load(ctx, in.App)
	if err != nil {
		return nil, err
	}
	decision, steps := snapshot.Explain(check, &facts)
	past := pastOf(state, decision, s.now())
	return answerWith(ExplainView{
		App: in.App, DeviceID: check.DeviceID, Revision: spec.Revision, Assumed: assumed,
		Steps:    slices.Insert(steps, max(0, len(steps)-1), past...), // the decision stays last
		Decision: viewDecision(decision, check), Summary: summarise(decision, check, past),
		Facts: DeviceView{DeviceID: check.DeviceID, Channel: facts.Channel, SetBy: facts.SetBy, Failed: facts.Failed, Consented: facts.Consented},
	}), nil
}

// readCheck reads the question as if the device had asked it itself, so that it is normalised the same way. It returns
// what was assumed for the attributes that were left out.
func readCheck(r *capgo.Request, in *explainInput, versions []string) (map[string]string, error) {
	assumed := map[string]string{}
	or := func(name, given, otherwise string) string {
		if given != "" {
			return given
		}
		assumed[name] = otherwise
		return otherwise
	}
	body, err := json.Marshal(map[string]any{
		"app_id": in.App, "device_id": in.DeviceID, "custom_id": in.CustomID,
		"platform":       or("platform", in.Platform, resolve.IOS.String()),
		"version_name":   or("version_name", in.VersionName, rollout.Builtin),
		"version_build":  or("version_build", in.VersionBuild, newestMajor(versions)),
		"version_os":     or("version_os", in.VersionOS, "17"),
		"plugin_version": or("plugin_version", in.PluginVersion, "8.0.0"),
		"is_prod":        or("is_prod", in.IsProd, "true") == "true",
		"is_emulator":    or("is_emulator", in.IsEmulator, "false") == "true",
		"defaultChannel": in.DefaultChannel, "key_id": in.KeyID, "install_source": in.InstallSource,
	})
	if err != nil {
		return nil, err
	}
	refusal := r.ParseCheck(body)
	switch {
	case refusal == nil:
		return assumed, nil
	case refusal.Field == "device_id":
		e := refuse(http.StatusBadRequest, CodeInvalidParameter,
			"the device id must be a UUID of 36 characters, such as 00009a6b-eefe-490a-9c60-8e965132ae51: %q is none", clip(in.DeviceID))
		e.Details = []Problem{{Path: refusal.Field, Code: refusal.Code, Message: refusal.Problem}}
		return nil, e
	}
	return nil, invalid(CodeInvalidParameter, "the request", []Problem{{Path: refusal.Field, Code: refusal.Code, Message: refusal.Problem}}, 1)
}

// pastOf tells, in a step of its own, how the last rollout on the device's channel ended, if any did: that is why a
// device has another bundle than it had before.
func pastOf(s rollout.State, d resolve.Decision, now time.Time) []resolve.Step {
	if d.Channel == nil {
		return nil
	}
	last, found := lastEnded(s, d.Channel.Name, "")
	if !found {
		return nil
	}
	return []resolve.Step{{Name: "last rollout", Passed: last.State == rollout.Completed, Detail: history(last, now)}}
}

// newestMajor returns the major version of the newest bundle as a native version: one that no policy calls outdated.
func newestMajor(versions []string) string {
	var newest resolve.Version
	for _, text := range versions {
		if v, ok := resolve.ParseVersion(text); ok && v.Compare(newest) > 0 {
			newest = v
		}
	}
	return strconv.FormatUint(max(1, newest.Major), 10) + ".0.0"
}

func viewDecision(d resolve.Decision, c *resolve.Check) DecisionView {
	v := DecisionView{
		Reason: d.Reason.String(), Phase: d.Phase, Admitted: d.Admitted, Candidate: d.Candidate,
	}
	if d.Reason != resolve.Offer && d.Reason != resolve.OfferBuiltin {
		v.Code, v.Kind, v.Message = d.Reason.Code(c.Platform), d.Kind.String(), d.Reason.Message()
	}
	if d.Bundle != nil {
		v.Bundle = d.Bundle.Version
	}
	if d.Channel != nil {
		v.Channel, v.Source = d.Channel.Name, d.Source.String()
	}
	if d.Rollout != nil {
		v.Rollout, v.Arm = d.Rollout.ID, d.Arm.String()
	}
	return v
}

// summarise says the decision in a sentence, and in another what happened on the channel before if nothing happens now.
func summarise(d resolve.Decision, c *resolve.Check, past []resolve.Step) string {
	var text strings.Builder
	switch d.Reason {
	case resolve.Offer:
		fmt.Fprintf(&text, "The device is offered bundle %s", d.Bundle.Version)
	case resolve.OfferBuiltin:
		text.WriteString("The device is sent back to its store build")
	default:
		fmt.Fprintf(&text, "The device is offered nothing (%s: %s)", d.Reason.Code(c.Platform), d.Reason.Message())
	}
	if d.Channel == nil {
		return text.String() + "."
	}
	fmt.Fprintf(&text, " on channel %q", d.Channel.Name)
	if d.Rollout == nil {
		text.WriteString(", where no rollout runs.")
		for _, step := range past {
			fmt.Fprintf(&text, " Before that, %s.", step.Detail)
		}
		return text.String()
	}
	standing := "has not admitted it yet"
	if d.Admitted {
		standing = "has admitted it"
	}
	fmt.Fprintf(&text, "; rollout %s of bundle %s is in phase %d and %s", d.Rollout.ID, d.Rollout.Bundle, d.Phase+1, standing)
	if d.Arm != rollout.ArmNone {
		fmt.Fprintf(&text, " (%s arm)", d.Arm)
	}
	return text.String() + "."
}

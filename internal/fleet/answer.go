package fleet

import (
	"bytes"
	"encoding/json"
	"net/url"
)

// answer is what an update check brought, as the plugin that asked understands it.
type answer struct {
	offer      bool   // a bundle to download, or the store build to go back to
	version    string // of the offer
	byManifest bool
	noChecksum bool   // a zip without a checksum, which this plugin refuses
	code       string // of a refusal
	kind       string
	faults     []fault // what the protocol does not allow
}

// fault is one breach of the protocol.
type fault struct {
	kind   Kind
	detail string
}

func (a *answer) blame(kind Kind, detail string) { a.faults = append(a.faults, fault{kind, detail}) }

// readAnswer reads the body of a 200 answer to an update check. An answer that the plugin could not use is no offer,
// and says why in its faults.
func readAnswer(body []byte, p *plugin) answer {
	var a answer
	if len(bytes.TrimSpace(body)) == 0 {
		a.blame(EmptyBody, "update check answered 200 without a body")
		return a
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		a.blame(NotJSON, excerpt(body))
		return a
	}
	strings := a.strings(fields)
	_, hasError := fields["error"]
	_, hasURL := fields["url"]
	a.code, a.kind = strings["error"], strings["kind"]
	if hasError && !hasURL {
		a.readRefusal(body)
		return a
	}
	a.readOffer(fields, strings, p, body)
	return a
}

// strings returns the fields of the answer that must be strings where present, and blames those that are not.
func (a *answer) strings(fields map[string]json.RawMessage) map[string]string {
	out := make(map[string]string, 6)
	for _, name := range []string{"version", "url", "session_key", "checksum", "error", "kind", "message", "link", "comment"} {
		raw, ok := fields[name]
		if !ok {
			continue
		}
		if string(raw) == "null" {
			a.blame(NullString, name+" is null")
			continue
		}
		var text string
		if json.Unmarshal(raw, &text) != nil {
			a.blame(WrongType, name+" is "+excerpt(raw))
			continue
		}
		out[name] = text
	}
	return out
}

func (a *answer) readRefusal(body []byte) {
	if a.code == "" {
		a.blame(MissingVersion, "neither an offer nor a refusal: "+excerpt(body))
	}
	switch a.kind {
	case "up_to_date", "blocked", "failed":
	default:
		a.blame(MissingKind, excerpt(body))
	}
}

func (a *answer) readOffer(fields map[string]json.RawMessage, strings map[string]string, p *plugin, body []byte) {
	usable := len(a.faults) == 0
	for _, name := range []string{"error", "kind", "message"} {
		if _, ok := fields[name]; ok {
			a.blame(ErrorInOffer, name+" in an offer: "+excerpt(body))
			usable = false
		}
	}
	a.version = strings["version"]
	if a.version == "" {
		a.blame(MissingVersion, excerpt(body))
		return
	}
	if a.version == StoreBuild {
		if !p.builtinAnswer {
			a.blame(NotForPlugin, "plugin "+p.version+" does not understand the version builtin")
			return
		}
		a.offer = usable
		return
	}
	if link, err := url.Parse(strings["url"]); err != nil || !link.IsAbs() || link.Host == "" {
		a.blame(MissingURL, excerpt(body))
		return
	}
	if !a.readManifest(fields["manifest"], p) {
		return
	}
	if strings["checksum"] == "" && !a.byManifest && p.needsChecksum {
		a.blame(MissingChecksum, "plugin "+p.version+" refuses a zip without a checksum: "+excerpt(body))
		a.noChecksum = true
		return
	}
	a.offer = usable
}

// readManifest reports whether the plugin can use the manifest, if there is one.
func (a *answer) readManifest(raw json.RawMessage, p *plugin) bool {
	if raw == nil {
		return true
	}
	var files []struct {
		FileName    string `json:"file_name"`
		FileHash    string `json:"file_hash"`
		DownloadURL string `json:"download_url"`
	}
	if string(raw) == "null" || json.Unmarshal(raw, &files) != nil {
		a.blame(WrongType, "manifest is "+excerpt(raw))
		return false
	}
	if !p.manifests {
		a.blame(NotForPlugin, "plugin "+p.version+" does not understand manifests")
		return false
	}
	for _, file := range files {
		if file.FileName == "" || file.FileHash == "" || file.DownloadURL == "" {
			a.blame(WrongType, "a manifest entry lacks its name, hash or URL")
			return false
		}
	}
	a.byManifest = len(files) > 0
	return true
}

// excerpt returns enough of a body to recognise it.
func excerpt(body []byte) string {
	const most = 160
	if len(body) > most {
		return string(body[:most]) + "…"
	}
	return string(body)
}

// refusedEvents returns which events of an answer to statistics or app metrics the server did not take: all of them when
// the whole request was refused under status 200, else those whose result is error and those listed as rejected. A nil result means it took them all.
func refusedEvents(body []byte, events int) []bool {
	if !bytes.Contains(body, []byte(`"error"`)) {
		return nil
	}
	var a struct {
		Error   string `json:"error"`
		Status  string `json:"status"`
		Results []struct {
			Status string `json:"status"`
			Index  int    `json:"index"`
		} `json:"results"`
		Rejected []struct {
			Index int `json:"index"`
		} `json:"rejected"`
	}
	refused := make([]bool, events)
	if json.Unmarshal(body, &a) != nil || a.Error != "" || a.Status == "error" {
		for i := range refused {
			refused[i] = true
		}
		return refused
	}
	mark := func(index int) {
		if index >= 0 && index < events {
			refused[index] = true
		}
	}
	for _, r := range a.Results {
		if r.Status == "error" {
			mark(r.Index)
		}
	}
	for _, r := range a.Rejected {
		mark(r.Index)
	}
	return refused
}

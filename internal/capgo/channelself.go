package capgo

import (
	"github.com/palier-ota/palier/internal/resolve"

	"github.com/palier-ota/palier/internal/jsontext"
)

// The four calls of /channel_self differ in which fields they demand.
const (
	// needsOfChannel are the fields of setChannel, getChannel and unsetChannel. A missing plugin_version counts as 0.0.0,
	// one that is no version as older than every line.
	needsOfChannel fieldSet = 1<<fPlatform | 1<<fDeviceID | 1<<fAppID | 1<<fVersionBuild | 1<<fVersionName
	// needsOfList are the fields that plugins 7.5 to 7.33 send to list channels.
	needsOfList fieldSet = 1<<fPlatform | 1<<fAppID
)

// ParseChannel reads the JSON body of POST, PUT or DELETE on /channel_self into r.Check, r.Channel and r.HasChannel.
func (r *Request) ParseChannel(body []byte) *Refusal {
	if refusal := r.readBody(body); refusal != nil {
		return refusal
	}
	return r.channelCall()
}

// ParseChannelQuery reads the raw query string of DELETE on /channel_self like ParseChannel reads a body.
func (r *Request) ParseChannelQuery(query string) *Refusal {
	if refusal := r.readQuery(query); refusal != nil {
		return refusal
	}
	return ofQuery(r.channelCall())
}

// ParseUnset reads a DELETE on /channel_self: from the raw query string if it has one, else from the JSON body, which is
// where plugins before x.34.0 put it.
func (r *Request) ParseUnset(query string, body []byte) *Refusal {
	if query == "" && jsontext.Space(body, 0) < len(body) {
		return r.ParseChannel(body)
	}
	return r.ParseChannelQuery(query)
}

// ParseList reads the raw query string of GET on /channel_self into r.Check. Only the app and the platform must be
// given: the plugins 7.5 to 7.33 do not say which device asks. So an id that is none is not held against the call.
func (r *Request) ParseList(query string) *Refusal {
	if refusal := r.readQuery(query); refusal != nil {
		return refusal
	}
	if refusal := r.ofApp(); refusal != nil {
		return refusal
	}
	if refusal := r.native(); refusal != nil {
		return refusal
	}
	if _, ok := uuid(r.object.get(fDeviceID)); !ok {
		r.object.forget(fDeviceID)
	}
	return ofQuery(r.fillChannel(needsOfList))
}

func (r *Request) readQuery(query string) *Refusal {
	if !r.object.readQuery(query) {
		return r.object.refuse(CodeQuery, "the query string is malformed", "query", "must be percent-encoded UTF-8")
	}
	if r.object.members == 0 {
		return r.object.refuse(CodeQuery, "the query string is empty", "query", "must not be empty")
	}
	return nil
}

// ofQuery gives a schema violation the code it has where the fields came in a query string.
func ofQuery(refusal *Refusal) *Refusal {
	if refusal != nil && refusal.Code == CodeBody {
		refusal.Code, refusal.Message = CodeQuery, "invalid query parameters"
	}
	return refusal
}

func (r *Request) channelCall() *Refusal {
	if refusal := r.identify(); refusal != nil {
		return refusal
	}
	if refusal := r.native(); refusal != nil {
		return refusal
	}
	return r.fillChannel(needsOfChannel)
}

// fillChannel fills r.Check and the channel. The running bundle's name may be empty here.
func (r *Request) fillChannel(required fieldSet) *Refusal {
	if refusal := r.fillCommon(required); refusal != nil {
		return refusal
	}
	if r.Check.Platform == resolve.PlatformOther {
		return r.object.badField(fPlatform, "must be android, ios or electron")
	}
	if s := r.object.shape(fChannel); s != absent && s != isText {
		return r.object.badField(fChannel, "must be a string")
	}
	r.nameRunning()
	r.Channel = r.object.get(fChannel)
	r.HasChannel = r.Channel != ""
	return nil
}

package capgo

import "strconv"

// Status returns the HTTP status of the batch's answer: always StatusOK, since one bad event must not make the plugin
// drop the good ones, and the answer to a single event about an unknown bundle is 200 by protocol.
func (b *Batch) Status() int { return StatusOK }

// RefuseAll marks every item as refused for r and returns r, which then is the answer to the whole request: the events
// of an app that is not known yet are worth being sent again, so they are not answered one by one.
func (b *Batch) RefuseAll(r *Refusal) *Refusal {
	for i := range b.Items {
		b.Items[i].Refusal = r
	}
	return r
}

// Append appends the answer's JSON. For an array it has one result per event. When events were refused for their app
// the answer says so at the top as well, as Capgo does, although the other events were taken.
func (b *Batch) Append(dst []byte) []byte {
	if b.Single {
		return b.appendSingle(dst)
	}
	dst = append(dst, `{"status":"ok"`...)
	if r := b.appTrouble(); r != nil {
		dst = append(dst, ',')
		dst = appendMember(dst, "error", r.Code)
		dst = append(dst, ',')
		dst = appendMember(dst, "message", r.Message)
	}
	dst = append(dst, `,"results":[`...)
	for i := range b.Items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = b.Items[i].appendResult(dst, i)
	}
	return append(dst, ']', '}')
}

func (b *Batch) appendSingle(dst []byte) []byte {
	r := b.Items[0].Refusal
	if r == nil {
		return append(dst, HealthBody...)
	}
	dst = append(dst, '{')
	dst = r.appendMembers(dst)
	if r.Field != "" { // Capgo spreads moreInfo at the top here
		dst = r.appendInfo(append(dst, ','))
	}
	return append(dst, '}')
}

// appTrouble returns the refusal of an event with a bad app id, else of one with another app id, else nil.
func (b *Batch) appTrouble() *Refusal {
	var mixed *Refusal
	for i := range b.Items {
		switch r := b.Items[i].Refusal; {
		case r == nil:
		case r.Code == CodeAppID:
			return r
		case r.Code == CodeMixedApps:
			mixed = r
		}
	}
	return mixed
}

func (it *Item) appendResult(dst []byte, index int) []byte {
	status := `{"status":"ok","index":`
	if it.Refusal != nil {
		status = `{"status":"error","index":`
	}
	dst = strconv.AppendInt(append(dst, status...), int64(index), 10)
	if it.Refusal != nil {
		dst = it.Refusal.appendMembers(append(dst, ','))
	}
	return append(dst, '}')
}

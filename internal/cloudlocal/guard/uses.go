package guard

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

// need is one thing that a call must be allowed, with the names under which the record files it.
type need struct {
	policy.Request
	class string // of resources: the ARN as far as Use.Resource keeps it
	key   string // as Use.LeadingKey
}

// Use is one thing that a caller was allowed and did. Names that are different for each device or object are cut to
// what they have in common, which a policy's pattern still matches: the record of a million devices is one line.
type Use struct {
	Caller   string // access key id
	Action   string // as in a policy: "dynamodb:GetItem"
	Resource string // ARN; that of an object up to the first slash of its key: "arn:aws:s3:::bucket/dead/"
	// LeadingKey is a DynamoDB partition key up to its first #: "DEVICE#", "LIVE"; for s3:ListBucket it is the prefix
	// that was listed; "" for other actions.
	LeadingKey string
	Count      int64 // calls; parts of calls for transactions
}

// record counts what callers did.
type record struct {
	mu   sync.Mutex
	uses map[Use]int64 // by the Use without its Count
}

func newRecord() *record {
	return &record{uses: map[Use]int64{}}
}

func (r *record) used(c *call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range c.needs {
		n := &c.needs[i]
		r.uses[Use{Caller: c.caller, Action: n.Action, Resource: n.class, LeadingKey: n.key}]++
	}
}

// Uses returns what callers were allowed and did since the start, in a fixed order.
func (p *Proxy) Uses() []Use {
	p.record.mu.Lock()
	defer p.record.mu.Unlock()
	uses := make([]Use, 0, len(p.record.uses))
	for use, count := range p.record.uses {
		use.Count = count
		uses = append(uses, use)
	}
	slices.SortFunc(uses, func(a, b Use) int {
		return cmp.Or(cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Action, b.Action),
			cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.LeadingKey, b.LeadingKey))
	})
	return uses
}

// upTo cuts s after the first mark, if it has one.
func upTo(s, mark string) string {
	before, _, found := strings.Cut(s, mark)
	if !found {
		return s
	}
	return before + mark
}

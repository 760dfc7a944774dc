package guard

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
)

// Capacity is what the calls of one kind consumed of DynamoDB, in DynamoDB's own words. Those of DynamoDB Local are
// right for single items and queries; for transactions it reports fewer units than AWS bills, which are, for each item,
// two per KB written or per 4 KB read, rounded up.
type Capacity struct {
	Caller    string // access key id
	Operation string // "GetItem", "TransactWriteItems"
	Calls     int64  // that succeeded
	Items     int64  // that the calls named: the parts of transactions, else one a call
	// Units are read units for operations that read, write units for those that write.
	Units float64
}

type consumed struct {
	calls, items int64
	units        float64
}

// Capacities returns what was consumed since the start, in a fixed order; nothing without Options.Meter.
func (p *Proxy) Capacities() []Capacity {
	p.record.mu.Lock()
	defer p.record.mu.Unlock()
	list := make([]Capacity, 0, len(p.record.capacity))
	for c, sum := range p.record.capacity {
		c.Calls, c.Items, c.Units = sum.calls, sum.items, sum.units
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Capacity) int {
		return cmp.Or(cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.Operation, b.Operation))
	})
	return list
}

func (p *Proxy) meters() bool { return p.options.Meter && p.options.Service == DynamoDB }

// askForCapacity adds ReturnConsumedCapacity to a request that does not have it. Operations that do not know the
// parameter ignore it.
func askForCapacity(body []byte) []byte {
	object := bytes.TrimLeft(body, " \t\r\n")
	if len(object) < 2 || object[0] != '{' || bytes.Contains(body, []byte(`"ReturnConsumedCapacity"`)) {
		return body
	}
	separator := ","
	if rest := bytes.TrimLeft(object[1:], " \t\r\n"); len(rest) > 0 && rest[0] == '}' {
		separator = ""
	}
	return slices.Concat([]byte(`{"ReturnConsumedCapacity":"TOTAL"`+separator), object[1:])
}

// meter adds what the answer says was consumed.
func (r *record) meter(c *call, resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return nil
	}
	body, err := takeBody(resp)
	if err != nil {
		return err
	}
	units, ok := unitsOf(body)
	if !ok {
		return nil
	}
	key := Capacity{Caller: c.caller, Operation: c.operation}
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := r.capacity[key]
	r.capacity[key] = consumed{calls: sum.calls + 1, items: sum.items + int64(len(c.needs)), units: sum.units + units}
	return nil
}

// unitsOf adds up an answer's ConsumedCapacity, which is one object or, of operations on several tables, a list.
func unitsOf(body []byte) (units float64, ok bool) {
	type capacity struct{ CapacityUnits float64 }
	var answer struct{ ConsumedCapacity json.RawMessage }
	if json.Unmarshal(body, &answer) != nil || len(answer.ConsumedCapacity) == 0 {
		return 0, false
	}
	var list []capacity
	if json.Unmarshal(answer.ConsumedCapacity, &list) != nil {
		list = make([]capacity, 1)
		if json.Unmarshal(answer.ConsumedCapacity, &list[0]) != nil {
			return 0, false
		}
	}
	for _, c := range list {
		units += c.CapacityUnits
	}
	return units, true
}

// takeBody reads an answer's body and puts it back.
func takeBody(resp *http.Response) ([]byte, error) {
	body, err := readAll(io.LimitReader(resp.Body, maxBody+1), resp.ContentLength)
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("an answer of more than %d bytes", maxBody)
	}
	_ = resp.Body.Close()
	putBody(resp, body)
	return body, err
}

func putBody(resp *http.Response, body []byte) {
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
}

package telemetry

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const device = `"app_id":"com.example.shop","device_id":"00009A6B-eefe-490a-9c60-8e965132ae51","platform":"ios","version_name":"1.4.0","version_build":"1.0.0"`

func TestParseMetrics(t *testing.T) {
	body := `{` + device + `,"custom_id":"u1","plugin_version":"8.0.0","events":[
		{"type":"load_time","at":1795000000000,"value_ms":4100.5,"name":"home"},
		{"type":"api_time","value_ms":-1},
		{"type":"session_length","value_ms":61000},
		{"type":"feature_use","name":"checkout"},
		{"type":"js_error","message":"boom"},
		{"type":"feedback","score":1,"message":"bad"},
		{"type":"feedback","negative":false},
		{"type":"consent","bundle":"1.5.0","granted":true},
		{"type":"novel"}, 7, null, {"type":"js_error","colour":"red"}]}`
	batch, err := ParseMetrics([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if batch.AppID != "com.example.shop" || batch.DeviceID != "00009a6b-eefe-490a-9c60-8e965132ae51" || !batch.IsProd || batch.IsEmulator || batch.CustomID != "u1" {
		t.Errorf("batch is %+v", batch)
	}
	want := []AppMetric{
		{Index: 0, Type: MetricLoadTime, At: 1795000000000, Millis: 4100.5, Name: "home"},
		{Index: 2, Type: MetricSessionLength, Millis: 61000},
		{Index: 3, Type: MetricFeatureUse, Name: "checkout"},
		{Index: 4, Type: MetricJSError, Message: "boom"},
		{Index: 5, Type: MetricFeedback, Score: 1, Message: "bad"},
		{Index: 6, Type: MetricFeedback},
		{Index: 7, Type: MetricConsent, Bundle: "1.5.0", Granted: true},
	}
	if !reflect.DeepEqual(batch.Metrics, want) {
		t.Errorf("metrics\n got %+v\nwant %+v", batch.Metrics, want)
	}
	var refused []string
	for _, e := range batch.Rejected {
		refused = append(refused, fmt.Sprint(e.Index, " ", e.Code))
	}
	if want := []string{"1 invalid_field", "8 unknown_type", "9 invalid_event", "10 unknown_type", "11 invalid_event"}; !slices.Equal(refused, want) {
		t.Errorf("refused %q, want %q", refused, want)
	}
}

func TestParseMetricsRefusesBatches(t *testing.T) {
	long := strings.Repeat("x", 129)
	for body, code := range map[string]string{
		``:                            "invalid_json_body",
		`[]`:                          "invalid_json_body",
		`{` + device + `} {}`:         "invalid_json_body",
		`{` + device + `,"colour":1}`: "invalid_json_body",
		`{"app_id":7}`:                "invalid_json_body",
		`null`:                        "missing_app_id",
		`{"device_id":"a"}`:           "missing_app_id",
		`{"app_id":"a"}`:              "missing_device_id",
		`{"app_id":"a","device_id":"` + long + `"}`:                      "invalid_field",
		`{` + device + `,"custom_id":"` + long + `"}`:                    "invalid_field",
		`{` + device + `,"events":[` + strings.Repeat("0,", 500) + `0]}`: "too_many_events",
		strings.Repeat(" ", MaxMetricsBytes+1):                           "body_too_large",
	} {
		_, err := ParseMetrics([]byte(body))
		var refused *MetricError
		if !errors.As(err, &refused) || refused.Code != code || refused.Index != -1 {
			t.Errorf("%.80s: %v, want %s", body, err, code)
		}
	}
}

func TestParseMetricsRefusesEvents(t *testing.T) {
	for _, event := range []string{
		`{}`, `{"type":"load_time"}`, `{"type":"load_time","value_ms":"4"}`, `{"type":"api_time","value_ms":2592000001}`,
		`{"type":"feature_use"}`, `{"type":"feature_use","name":"` + strings.Repeat("é", 129) + `"}`,
		`{"type":"feedback"}`, `{"type":"feedback","score":0}`, `{"type":"feedback","score":6}`,
		`{"type":"consent","bundle":"1.0.0"}`, `{"type":"consent","granted":true}`,
		`{"type":"js_error","message":"` + strings.Repeat("x", 2049) + `"}`,
		`{"type":"js_error","at":-1}`, `{"type":"js_error","at":253402300800000}`, `{"type":"js_error","at":1.5}`,
		`{"type":"js_error","bundle":"` + strings.Repeat("x", 129) + `"}`, `{"type":"load_time","value_ms":1e999}`,
	} {
		batch, err := ParseMetrics([]byte(`{` + device + `,"events":[` + event + `,{"type":"js_error"}]}`))
		if err != nil || len(batch.Metrics) != 1 || batch.Metrics[0].Index != 1 || len(batch.Rejected) != 1 || batch.Rejected[0].Index != 0 {
			t.Errorf("%.80s: %v, %+v", event, err, batch)
		}
	}
	exact := `{"type":"feature_use","name":"` + strings.Repeat("é", 128) + `"}`
	if batch, err := ParseMetrics([]byte(`{` + device + `,"events":[` + exact + `]}`)); err != nil || len(batch.Metrics) != 1 {
		t.Errorf("a name of exactly 128 characters: %v, %+v", err, batch.Rejected)
	}
}

func TestMetricsBecomeEvents(t *testing.T) {
	batch, err := ParseMetrics([]byte(`{` + device + `,"is_prod":false,"events":[
		{"type":"load_time","at":5,"value_ms":4100,"name":"home"},
		{"type":"feedback","score":2,"negative":true,"message":"bad"},
		{"type":"consent","bundle":"1.5.0","granted":true}]}`))
	if err != nil {
		t.Fatal(err)
	}
	base := Event{Kind: KindMetric, App: "com.example.shop", Device: Fingerprint("00009a6b-eefe-490a-9c60-8e965132ae51"), Time: 9000, Version: "1.4.0", Platform: "ios", Test: true}
	load, feedback, consent := base, base, base
	load.Action, load.ClientTime, load.Value, load.Metadata = "load_time", 5, 4100, map[string]string{"name": "home"}
	feedback.Action, feedback.Value, feedback.Metadata = "feedback", 2, map[string]string{"message": "bad", "negative": "true"}
	consent.Action, consent.Version, consent.Metadata = "consent", "1.5.0", map[string]string{"granted": "true"}
	for i, want := range []Event{load, feedback, consent} {
		got := batch.Event(batch.Metrics[i], time.UnixMilli(9000))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("metric %d\n got %+v\nwant %+v", i, got, want)
		}
		if _, err := Append(nil, got); err != nil {
			t.Errorf("metric %d: %v", i, err)
		}
	}
}

// TestSchemaAgreesWithParser holds the published schema against the decoder's fields and limits.
func TestSchemaAgreesWithParser(t *testing.T) {
	type object struct {
		AdditionalProperties bool
		Properties           map[string]struct {
			Enum      []MetricType
			MaxLength int
			MaxItems  int
		}
	}
	var schema struct {
		Schema string `json:"$schema"`
		object
		Defs struct{ Event object } `json:"$defs"`
	}
	schema.AdditionalProperties, schema.Defs.Event.AdditionalProperties = true, true
	if err := json.Unmarshal(MetricsSchema, &schema); err != nil {
		t.Fatal(err)
	}
	if schema.Schema != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("schema is of %s", schema.Schema)
	}
	for _, side := range []struct {
		name string
		object
		wire any
	}{{"batch", schema.object, wireBatch{}}, {"event", schema.Defs.Event, wireMetric{}}} {
		if side.AdditionalProperties {
			t.Errorf("%s: the schema allows fields that the parser refuses", side.name)
		}
		var fields []string
		for i := range reflect.TypeOf(side.wire).NumField() {
			fields = append(fields, reflect.TypeOf(side.wire).Field(i).Tag.Get("json"))
		}
		slices.Sort(fields)
		if names := slices.Sorted(maps.Keys(side.Properties)); !slices.Equal(names, fields) {
			t.Errorf("%s: the schema has %q, the parser %q", side.name, names, fields)
		}
	}
	event := schema.Defs.Event.Properties
	if got := schema.Properties["events"].MaxItems; got != MaxMetricEvents {
		t.Errorf("the schema allows %d events, the parser %d", got, MaxMetricEvents)
	}
	if name, message := event["name"].MaxLength, event["message"].MaxLength; name != MaxMetricName || message != MaxMetricMessage {
		t.Errorf("the schema allows names of %d and messages of %d", name, message)
	}
	types := event["type"].Enum
	if len(types) != 7 {
		t.Errorf("the schema has %d types", len(types))
	}
	for _, kind := range types {
		if !Classify(Event{Kind: KindMetric, Action: string(kind)}).Known {
			t.Errorf("the schema has the type %s, which is not known", kind)
		}
	}
}

func FuzzParseMetrics(f *testing.F) {
	f.Add([]byte(`{` + device + `,"events":[{"type":"load_time","value_ms":1},{"type":"consent","bundle":"1","granted":true}]}`))
	f.Add([]byte(`{` + device + `,"events":[{"type":"feedback","negative":true},null,{"type":"x"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		batch, err := ParseMetrics(body)
		if err != nil {
			var refused *MetricError
			if !errors.As(err, &refused) || refused.Code == "" {
				t.Fatalf("error %v has no code", err)
			}
			return
		}
		if len(batch.Metrics)+len(batch.Rejected) > MaxMetricEvents {
			t.Fatal("too many events got through")
		}
		for _, m := range batch.Metrics {
			e := batch.Event(m, time.UnixMilli(1))
			if !Classify(e).Known {
				t.Fatalf("accepted metric %+v is not known", m)
			}
			if _, err := Append(nil, e); err != nil && validIdentifier(batch.AppID) {
				t.Fatalf("accepted metric %+v cannot be written: %v", m, err)
			}
		}
	})
}

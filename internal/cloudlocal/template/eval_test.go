package template

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// world is what the expressions of the tests below can refer to.
const world = `
Parameters:
  Name: {Type: String, Default: abc}
  Empty: {Type: String, Default: ''}
  Count: {Type: Number, Default: 3}
Mappings:
  Sizes: {small: {memory: 128}}
Conditions:
  Named: !Not [!Equals [!Ref Name, '']]
  Three: !Equals [!Ref Count, 3]
  Both: !And [{Condition: Named}, !Condition Three]
  Neither: !Not [!Or [!Condition Named, !Condition Three]]
  Circle: !Not [!Condition Circle]
Resources:
  State: {Type: 'AWS::S3::Bucket'}
  Items: {Type: 'AWS::DynamoDB::Table'}
  Log: {Type: 'AWS::Logs::LogGroup', Properties: {LogGroupName: !Sub '/x/${AWS::StackName}'}}
  Gone: {Type: 'AWS::S3::Bucket', Condition: Neither}
`

// evaluate carries out one expression of YAML in the world.
func evaluate(t *testing.T, expression string) (value, error) {
	t.Helper()
	s, _, err := open([]byte(world), Options{Stack: "st"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseYAML([]byte("v: " + expression + "\n"))
	if err != nil {
		return nil, err
	}
	m, err = s.evalMap(m)
	return m["v"], err
}

func TestIntrinsicFunctions(t *testing.T) {
	for _, c := range []struct {
		expression string
		want       value
	}{
		{"!Ref Name", "abc"},
		{"{Ref: Name}", "abc"},
		{"!Ref AWS::Region", Region},
		{"!Ref State", "st-state"},
		{"!Ref Items", "st-Items"},
		{"!Ref Log", "/x/st"},
		{"!GetAtt State.Arn", "arn:aws:s3:::st-state"},
		{"{'Fn::GetAtt': [Items, Arn]}", "arn:aws:dynamodb:us-east-1:000000000000:table/st-Items"},
		{"!GetAtt Log.Arn", "arn:aws:logs:us-east-1:000000000000:log-group:/x/st:*"},
		{"!Sub '${State.Arn}/dead/*'", "arn:aws:s3:::st-state/dead/*"},
		{"!Sub ['${Own}-${Name}', {Own: !Ref Count}]", "3-abc"},
		{"!Sub '${!Literal} ${ Name }'", "${Literal} abc"},
		{"!If [Named, yes it is, no]", "yes it is"},
		{"!If [Neither, yes it is, !Ref Name]", "abc"},
		{"!If [Both, [1, !Ref AWS::NoValue], 2]", []value{number("1")}},
		{"{a: !Ref 'AWS::NoValue', b: 1}", map[string]value{"b": number("1")}},
		{"!Join ['-', [a, !Ref Name, 1]]", "a-abc-1"},
		{"!Split ['/', a/b]", []value{"a", "b"}},
		{"!Select [1, !Split ['/', a/b]]", "b"},
		{"!FindInMap [Sizes, small, memory]", number("128")},
		{"!Equals [1, '1']", true},
		{"[&x {k: 1}, *x]", []value{map[string]value{"k": number("1")}, map[string]value{"k": number("1")}}},
		{"'true'", "true"},
		{"true", true},
		{"null", nil},
		{">-\n  a\n  b", "a b"},
	} {
		t.Run(c.expression, func(t *testing.T) {
			got, err := evaluate(t, c.expression)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("= %#v, want %#v", got, c.want)
			}
		})
	}
}

func TestIntrinsicFunctionsRefuse(t *testing.T) {
	for _, c := range []struct{ expression, want string }{
		{"!Ref Nobody", `no resource or parameter "Nobody"`},
		{"!Ref Gone", `no resource or parameter "Gone"`},
		{"!GetAtt State.Colour", "attribute Colour of State"},
		{"!Sub '${Nobody.Arn}'", `"Nobody"`},
		{"!If [Unheard, 1, 2]", `no condition "Unheard"`},
		{"!If [Circle, 1, 2]", "in a circle"},
		{"!If [Named, 1]", "two values"},
		{"!Select [7, [a]]", "no item 7"},
		{"!FindInMap [Sizes, large, memory]", "in the mappings"},
		{"!ImportValue x", "Fn::ImportValue"},
		{"!Cidr [a, 1, 2]", "not known here"},
		{"*nobody", "anchor"},
		{"{a: !Ref AWS::NoValue, b: 1}", "into quotes"},
		{"{a: 1, a: 2}", "a"},
		{strings.Repeat("[", 80) + strings.Repeat("]", 80), "deep"},
	} {
		t.Run(c.expression, func(t *testing.T) {
			got, err := evaluate(t, c.expression)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("= %v, %v; want an error with %q", got, err, c.want)
			}
		})
	}
}

func TestParameters(t *testing.T) {
	const text = `
Parameters:
  Must: {Type: String}
  Level: {Type: String, Default: info, AllowedValues: [info, debug]}
  Days: {Type: Number, Default: 7, AllowedValues: [7, 30], MinValue: 1, MaxValue: 30}
  Hash: {Type: String, Default: '', AllowedPattern: '([0-9a-f]{4})?', Description: x}
`
	for _, c := range []struct {
		name  string
		given map[string]string
		want  string // in the error; empty: none
	}{
		{"defaults", map[string]string{"Must": "x"}, ""},
		{"all given", map[string]string{"Must": "", "Level": "debug", "Days": "30", "Hash": "00ff"}, ""},
		{"missing", nil, "Must has no default"},
		{"unknown", map[string]string{"Must": "x", "Other": "x"}, `no parameter "Other"`},
		{"not allowed", map[string]string{"Must": "x", "Level": "trace"}, `"trace" is none of`},
		{"no number", map[string]string{"Must": "x", "Days": "x"}, "Days"},
		{"part of a pattern", map[string]string{"Must": "x", "Hash": "00ff00"}, "does not match"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, err := open([]byte(text), Options{Parameters: c.given})
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want one with %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if v := s.parameters["Days"]; v != number("7") && v != number("30") {
				t.Errorf("Days = %#v", v)
			}
		})
	}
}

func number(text string) value { return json.Number(text) }

package template

import (
	"fmt"

	"github.com/palier-ota/palier/internal/cloudlocal/policy"
)

// roleProperties are those of AWS::IAM::Role. There are no ManagedPolicyArns among them on purpose: what such a policy
// allows is not in the template.
type roleProperties struct {
	Policies []struct {
		PolicyName     string
		PolicyDocument struct {
			Version   string
			Statement []statementProperties
		}
	}
	AssumeRolePolicyDocument any
}

// statementProperties are those of one statement of a policy. NotAction and NotResource are not among them.
type statementProperties struct {
	Sid       string
	Effect    string
	Action    oneOrMore
	Resource  oneOrMore
	Condition map[string]map[string]oneOrMore
}

// statements returns what the role with the ARN may do.
func (t *Template) statements(roleARN string) ([]policy.Statement, error) {
	id, err := t.role(roleARN)
	if err != nil {
		return nil, err
	}
	var p roleProperties
	if err := t.decodeProperties(id, &p); err != nil {
		return nil, fmt.Errorf("role %s: %w", id, err)
	}
	var out []policy.Statement
	for _, inline := range p.Policies {
		for _, s := range inline.PolicyDocument.Statement {
			out = append(out, s.statement())
		}
	}
	return out, nil
}

// role returns the logical id of the role with the ARN.
func (t *Template) role(arn string) (string, error) {
	for id, resource := range t.scope.resources {
		if kind := text(resource["Type"]); kind == "AWS::IAM::Role" {
			if its, err := t.scope.names.attribute(id, kind, "Arn", t.scope); err == nil && its == arn {
				return id, nil
			}
		}
	}
	return "", fmt.Errorf("role %q is not in the template: every function has a role of its own there", arn)
}

func (s statementProperties) statement() policy.Statement {
	out := policy.Statement{Effect: s.Effect, Actions: s.Action, Resources: s.Resource}
	for operator, keys := range s.Condition {
		if out.Conditions == nil {
			out.Conditions = map[string]map[string][]string{}
		}
		out.Conditions[operator] = map[string][]string{}
		for key, values := range keys {
			out.Conditions[operator][key] = values
		}
	}
	return out
}

package template

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// A value is what JSON can say: nil, bool, string, json.Number, []any or map[string]any. The short forms of intrinsic
// functions (!Ref x) are values in their long form ({"Ref": x}).
type value = any

// maxDepth bounds how deep values may nest, and so how far aliases can be followed.
const maxDepth = 64

// parseYAML returns the one document of text as a value.
func parseYAML(text []byte) (map[string]value, error) {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, err
	}
	if len(file.Docs) != 1 {
		return nil, fmt.Errorf("%d documents in one file: want one", len(file.Docs))
	}
	r := yamlReader{anchors: map[string]value{}}
	v, err := r.read(file.Docs[0].Body, 0)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]value)
	if !ok {
		return nil, fmt.Errorf("the document is no mapping")
	}
	return m, nil
}

type yamlReader struct{ anchors map[string]value }

func (r *yamlReader) read(n ast.Node, depth int) (value, error) {
	if depth > maxDepth {
		return nil, at(n, "nested too deeply")
	}
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return nil, nil
	case *ast.BoolNode:
		return n.Value, nil
	case *ast.IntegerNode:
		return json.Number(strings.ReplaceAll(n.Token.Value, "_", "")), nil
	case *ast.FloatNode:
		return json.Number(n.Token.Value), nil
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.SequenceNode:
		list := make([]value, len(n.Values))
		for i, item := range n.Values {
			v, err := r.read(item, depth+1)
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	case *ast.MappingNode:
		m := make(map[string]value, len(n.Values))
		for _, entry := range n.Values {
			if err := r.readEntry(m, entry, depth); err != nil {
				return nil, err
			}
		}
		return m, nil
	case *ast.MappingValueNode:
		m := map[string]value{}
		return m, r.readEntry(m, n, depth)
	case *ast.AnchorNode:
		v, err := r.read(n.Value, depth+1)
		r.anchors[n.Name.GetToken().Value] = v
		return v, err
	case *ast.AliasNode:
		v, ok := r.anchors[n.Value.GetToken().Value]
		if !ok {
			return nil, at(n, "alias of an anchor that is not above it")
		}
		return v, nil
	case *ast.TagNode:
		return r.readTag(n, depth)
	}
	return nil, at(n, fmt.Sprintf("%s is not understood here", n.Type()))
}

func (r *yamlReader) readEntry(m map[string]value, entry *ast.MappingValueNode, depth int) error {
	name, err := keyOf(entry)
	if err != nil {
		return err
	}
	if _, twice := m[name]; twice {
		return at(entry, "key "+name+" stands there twice")
	}
	m[name], err = r.read(entry.Value, depth+1)
	return err
}

// keyOf returns an entry's key. One with a tag is refused: in {a: !Ref AWS::Region} the parser takes !Ref AWS for one.
func keyOf(entry *ast.MappingValueNode) (string, error) {
	switch key := entry.Key.(type) {
	case *ast.StringNode:
		return key.Value, nil
	case *ast.IntegerNode, *ast.BoolNode:
		return key.GetToken().Value, nil
	}
	return "", at(entry, "a key that is no text [inside of braces, put what has a colon into quotes]")
}

// readTag turns !Name into the long form of CloudFormation's function.
func (r *yamlReader) readTag(n *ast.TagNode, depth int) (value, error) {
	v, err := r.read(n.Value, depth+1)
	if err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(n.Start.Value, "!")
	switch name {
	case "Ref", "Condition":
		return map[string]value{name: v}, nil
	case "GetAtt":
		if text, ok := v.(string); ok {
			resource, attribute, _ := strings.Cut(text, ".")
			v = []value{resource, attribute}
		}
	}
	return map[string]value{"Fn::" + name: v}, nil
}

func at(n ast.Node, what string) error {
	pos := n.GetToken().Position
	return fmt.Errorf("line %d: %s", pos.Line, what)
}

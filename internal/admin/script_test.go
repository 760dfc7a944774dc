package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/palier-ota/palier/internal/admin"
)

// Each file of testdata/*.txt is a conversation with a server of its own. A line that starts with an HTTP method begins a
// call; lines that start with a bar are its body; what follows speaks of its answer:
//
//	token NAME ROLE [TTL]    make a token; "as NAME" uses it
//	advance 24h              move the clock
//	GET|PUT|POST|DELETE PATH begin a call
//	as NAME | as nobody | bearer TEXT
//	type TEXT                content type of the body
//	accept TEXT
//	| TEXT                   a line of the body
//	status N
//	body contains TEXT | body lacks TEXT
//	header NAME == TEXT
//	json PATH == VALUE       VALUE is JSON; PATH is like changes[0].op, and ends in # for a length
//	save PATH as NAME        ${NAME} stands for it later
//	unchanged                the call left every app, rollout and audit log as it was
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatalf("scripts: %d found, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			run := &script{t: t, server: newServer(t), tokens: map[string]string{}, saved: map[string]string{}}
			for _, block := range blocks(string(text)) {
				run.block(block)
			}
		})
	}
}

type line struct {
	number int
	text   string
}

// blocks cuts a script into calls with what belongs to them; lines before any call stand alone.
func blocks(text string) [][]line {
	var all [][]line
	for i, raw := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(raw)
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		l := line{number: i + 1, text: trimmed}
		if beginsBlock(trimmed) || len(all) == 0 {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], l)
	}
	return all
}

func beginsBlock(text string) bool {
	word, _, _ := strings.Cut(text, " ")
	return slices.Contains([]string{"GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "token", "advance"}, word)
}

type script struct {
	t      *testing.T
	server *server
	tokens map[string]string
	saved  map[string]string
}

var variable = regexp.MustCompile(`\$\{(\w+)\}`)

func (s *script) expand(text string) string {
	return variable.ReplaceAllStringFunc(text, func(ref string) string {
		value, ok := s.saved[ref[2:len(ref)-1]]
		if !ok {
			s.t.Fatalf("%s was never saved", ref)
		}
		return value
	})
}

func (s *script) block(lines []line) {
	s.t.Helper()
	words := strings.Fields(lines[0].text)
	switch words[0] {
	case "token":
		ttl := time.Duration(0)
		if len(words) > 3 {
			ttl, _ = time.ParseDuration(words[3])
		}
		secret, err := s.server.service.NewToken(context.Background(), words[1], admin.Role(words[2]), ttl)
		if err != nil {
			s.t.Fatalf("line %d: %v", lines[0].number, err)
		}
		s.tokens[words[1]] = secret
		return
	case "advance":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			s.t.Fatal(err)
		}
		s.server.clock.advance(d)
		return
	}
	r := request{method: words[0], path: s.expand(words[1])}
	checks := s.prepare(&r, lines[1:])
	before := ""
	if slices.ContainsFunc(checks, func(l line) bool { return l.text == "unchanged" }) {
		before = s.server.everything()
	}
	a := s.server.do(r)
	for _, l := range checks {
		if problem := s.check(l.text, a, before); problem != "" {
			s.t.Errorf("line %d: %s\n%s %s answered %d %s", l.number, problem, r.method, r.path, a.status, a.body)
		}
	}
}

// prepare takes the lines that make the request and returns those that check the answer.
func (s *script) prepare(r *request, lines []line) []line {
	var checks []line
	for _, l := range lines {
		word, rest, _ := strings.Cut(l.text, " ")
		rest = s.expand(rest)
		switch word {
		case "|":
			r.body += rest + "\n"
		case "|" + rest: // an empty body line
		case "type":
			r.contentType = rest
		case "accept":
			r.accept = rest
		case "bearer":
			r.token = rest
		case "as":
			r.noToken = rest == "nobody"
			r.token = s.tokens[rest]
		default:
			checks = append(checks, line{l.number, word + " " + rest})
			if rest == "" {
				checks[len(checks)-1].text = word
			}
		}
	}
	if r.body != "" && r.contentType == "" && !strings.HasPrefix(strings.TrimSpace(r.body), "{") {
		r.contentType = "application/yaml"
	}
	return checks
}

// check returns what is wrong with the answer, or "".
func (s *script) check(text string, a answer, before string) string {
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "status":
		if strconv.Itoa(a.status) != rest {
			return "want status " + rest
		}
	case "body":
		how, part, _ := strings.Cut(rest, " ")
		if strings.Contains(a.body, part) != (how == "contains") {
			return "want a body that " + rest
		}
	case "header":
		name, want, _ := strings.Cut(rest, " == ")
		if a.header.Get(name) != want {
			return fmt.Sprintf("header %s is %q, want %q", name, a.header.Get(name), want)
		}
	case "json":
		path, want, _ := strings.Cut(rest, " == ")
		if got := lookup(a.body, path); got != want {
			return fmt.Sprintf("%s is %s, want %s", path, got, want)
		}
	case "save":
		path, name, _ := strings.Cut(rest, " as ")
		var value string
		if err := json.Unmarshal([]byte(lookup(a.body, path)), &value); err != nil {
			return "nothing to save at " + path
		}
		s.saved[name] = value
	case "unchanged":
		if after := s.server.everything(); after != before {
			return "the call changed something:\n" + before + "\nis now\n" + after
		}
	default:
		return "no such check: " + text
	}
	return ""
}

// lookup returns the JSON text at a path such as changes[0].op, or "missing".
func lookup(body, path string) string {
	var at any
	if err := json.Unmarshal([]byte(body), &at); err != nil {
		return "not JSON"
	}
	path, length := strings.CutSuffix(path, "#")
	for _, part := range strings.FieldsFunc(path, func(c rune) bool { return c == '.' || c == '[' || c == ']' }) {
		switch v := at.(type) {
		case map[string]any:
			next, ok := v[part]
			if !ok {
				return "missing"
			}
			at = next
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(v) {
				return "missing"
			}
			at = v[i]
		default:
			return "missing"
		}
	}
	if list, ok := at.([]any); ok && length {
		return strconv.Itoa(len(list))
	}
	text, err := json.Marshal(at)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// everything returns all that a refused call must leave alone.
func (s *server) everything() string {
	s.t.Helper()
	apps := s.ok("GET", "/api/v1/apps", "").body
	all := []string{apps, s.ok("GET", "/api/v1/tokens", "").body}
	var list struct{ Items []struct{ App string } }
	if err := json.Unmarshal([]byte(apps), &list); err != nil {
		s.t.Fatal(err)
	}
	for _, app := range list.Items {
		base := "/api/v1/apps/" + app.App
		for _, path := range []string{base, base + "/rollouts", base + "/events?limit=500"} {
			all = append(all, s.ok("GET", path, "").body)
		}
	}
	return strings.Join(all, "\n")
}

package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"sort"
	"strings"
	"time"
)

// binding knows which of our ids, keys and URLs stand for which recorded ones. What
// was recorded once must mean one thing throughout.
type binding struct {
	ours   map[string]string // by recorded
	theirs map[string]string // by ours
}

func newBinding() *binding { return &binding{map[string]string{}, map[string]string{}} }

// same binds on first sight, and afterwards says whether it is still the same pair.
func (b *binding) same(recorded, actual string) bool {
	r, known := b.theirs[actual]
	a, bound := b.ours[recorded]
	if !known && !bound {
		b.ours[recorded], b.theirs[actual] = actual, recorded
		return true
	}
	return known && bound && r == recorded && a == actual
}

// inRequest puts our ids, keys and URLs into what was recorded.
func (b *binding) inRequest(s string) string {
	var pairs []string
	for recorded, ours := range b.ours {
		pairs = append(pairs, recorded, ours)
	}
	return strings.NewReplacer(pairs...).Replace(s)
}

var (
	uuid  = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	place = regexp.MustCompile(`^http://127\.0\.0\.1:180[0-9]{2}`)
	index = regexp.MustCompile(`\[[0-9]+\]`)
)

// comparison collects where two answers differ, each place with what stands there.
type comparison struct {
	bind  *binding
	diffs map[string]string
	// numbers says that the body is a gateway's numbers: its members and theirs must be
	// there, what they count is another run's.
	numbers bool
}

func (c *comparison) differ(path, format string, args ...any) {
	c.diffs[path] = fmt.Sprintf(format, args...)
}

// headersThatMatter are compared; the others say when and how much.
var headersThatMatter = []string{
	"Content-Type", "Referrer-Policy", "X-Content-Type-Options", "X-Frame-Options", "X-Xss-Protection",
	"Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Allow-Origin",
	"Access-Control-Expose-Headers", "Access-Control-Max-Age",
}

func (c *comparison) headers(recorded map[string]string, actual http.Header) {
	if recorded == nil {
		return // the fan-out cases were recorded without
	}
	for _, name := range headersThatMatter {
		if got := actual.Get(name); got != recorded[name] {
			c.differ("header."+name, "%q, recorded %q", got, recorded[name])
		}
	}
	if recorded["X-Request-Id"] != "" && actual.Get("X-Request-Id") == "" {
		c.differ("header.X-Request-Id", "missing")
	}
}

// forPeople are texts whose wording is nobody's contract: their type is compared.
func forPeople(path string) bool {
	path = index.ReplaceAllString(path, "")
	return strings.HasPrefix(path, "body.error.details.") || path == "body.error.message" ||
		strings.HasSuffix(path, ".error_message") || path == "body.errors.message"
}

// ours are members that we add to what agentry says, everywhere, with the reason.
var ours = map[string]string{
	"body.message":                   "beside error, for agentry's admin program",
	"body.error.timestamp":           "agentry's middleware leaves it out",
	"body.error.request_id":          "agentry's middleware leaves it out",
	"body.error.details":             "for amtp_code alone",
	"body.error.details.amtp_code":   "the specification's name",
	"body.error.details.reason":      "what is wrong with an address",
	"body.error.details.errors":      "row 26: all errors of a payload",
	"body.error.details.schema_code": "row 26",
	"body.error.details.hint":        "the next step",
	"body.sender_verification":       "as newer agentry",
	"body.recipients.next_retry":     "checklist 47",
	"body.messages.payload":          "divergence 17: {} where none was sent, never left out",
	"body.messages.signature":        "agentry drops it",
	"body.messages.workflow_id":      "as newer agentry",
	"body.has_more":                  "divergence 3",
	"body.message_count":             "divergence 3",
	"body.status":                    "divergence 3: of an acknowledgement",
	"body.timestamp":                 "divergence 3: of an acknowledgement",
	"body.workflow_id":               "as newer agentry",
	"body.dependencies.database":     "cure 32: it is asked",
	"body.agents.active":             "the specification's",
	"body.deliveries.queue":          "there is a queue",
	"body.schema_id":                 "which schema a payload was judged by",
	"body.compatibility":             "checklist 75: what changed",
	"body.errors.keyword":            "row 26",
	"body.errors.pointer":            "row 26: a JSON pointer",
}

func (c *comparison) values(path string, recorded, actual any) {
	if c.numbers && (strings.Count(path, ".") >= 2 || path == "body.uptime_seconds" || path == "body.errors") {
		if fmt.Sprintf("%T", recorded) != fmt.Sprintf("%T", actual) {
			c.differ(path, "%T, recorded %T", actual, recorded)
		}
		return
	}
	switch r := recorded.(type) {
	case map[string]any:
		a, ok := actual.(map[string]any)
		if !ok {
			c.differ(path, "%T, recorded an object", actual)
			return
		}
		c.objects(path, r, a)
	case []any:
		a, ok := actual.([]any)
		if !ok || len(a) != len(r) {
			c.differ(path, "%v, recorded %v", short(actual), short(recorded))
			return
		}
		r, a = inOrder(r), inOrder(a)
		for i := range r {
			c.values(fmt.Sprintf("%s[%d]", path, i), r[i], a[i])
		}
	case string:
		a, ok := actual.(string)
		if !ok || !c.texts(path, r, a) {
			c.differ(path, "%v, recorded %q", short(actual), r)
		}
	default:
		if recorded != actual {
			c.differ(path, "%v, recorded %v", short(actual), recorded)
		}
	}
}

func (c *comparison) objects(path string, recorded, actual map[string]any) {
	for name, r := range recorded {
		if a, there := actual[name]; there {
			c.values(path+"."+name, r, a)
		} else {
			c.differ(path+"."+name, "missing, recorded %v", short(r))
		}
	}
	for name, a := range actual {
		at := path + "." + name
		if _, there := recorded[name]; !there && ours[index.ReplaceAllString(at, "")] == "" {
			c.differ(at, "%v, not recorded", short(a))
		}
	}
}

func (c *comparison) texts(path, recorded, actual string) bool {
	if forPeople(path) {
		return actual != ""
	}
	if _, err := time.Parse(time.RFC3339, recorded); err == nil {
		_, err := time.Parse(time.RFC3339, actual)
		return err == nil && (strings.HasSuffix(actual, "Z") || !strings.HasSuffix(recorded, "Z"))
	}
	if strings.HasSuffix(path, ".request_id") {
		return actual != ""
	}
	if uuid.MatchString(recorded) || strings.HasSuffix(path, ".api_key") {
		return len(actual) == len(recorded) && c.bind.same(recorded, actual)
	}
	if at := place.FindString(recorded); at != "" && c.bind.ours[at] != "" {
		return actual == c.bind.ours[at]+recorded[len(at):]
	}
	return recorded == actual
}

func short(v any) string {
	b, _ := json.Marshal(v)
	return string(b[:min(len(b), 300)])
}

// inOrder sorts what agentry lists in any order, by what does not change from run to
// run.
func inOrder(list []any) []any {
	keys := make(map[int]string, len(list))
	order := make([]int, len(list))
	for i, v := range list {
		order[i] = i
		b, _ := json.Marshal(steady(v))
		keys[i] = string(b)
	}
	sort.SliceStable(order, func(i, j int) bool { return keys[order[i]] < keys[order[j]] })
	sorted := make([]any, len(list))
	for i, from := range order {
		sorted[i] = list[from]
	}
	return sorted
}

// steady is what identifies a list's element: its address, field or raw id, or else
// its payload.
func steady(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for _, name := range []string{"address", "field", "raw", "payload"} {
		if s, there := m[name]; there {
			return s
		}
	}
	return nil
}

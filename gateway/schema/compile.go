package schema

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// DefinitionError says why a definition cannot be used.
type DefinitionError struct {
	ID       ID
	Problems []Problem
}

func (e *DefinitionError) Error() string {
	first := "invalid"
	if len(e.Problems) > 0 {
		first = e.Problems[0].Message
		if p := e.Problems[0].Pointer; p != "" {
			first = p + ": " + first
		}
	}
	return fmt.Sprintf("definition of %s: %s", e.ID, first)
}

// resolver finds what a $ref names outside its document.
type resolver func(url string) (any, error)

// compiled is a definition ready for use. It is safe for concurrent use: each
// check takes a program of its own, because a program counts its steps.
type compiled struct {
	build func() (*program, error)

	mu   sync.Mutex
	idle []*program
}

// maxIdle is how many programs of one definition wait for work.
const maxIdle = 4

// compile makes the document doc, known as url, ready. Its references are asked
// of resolve, once each.
func compile(url string, doc any, resolve resolver, formats Formats, limits Limits) (*compiled, error) {
	documents := map[string]any{url: doc}
	c := &compiled{build: func() (*program, error) { return build(url, documents, nil, formats, limits) }}
	first, err := build(url, documents, resolve, formats, limits)
	if err != nil {
		return nil, err
	}
	c.idle = append(c.idle, first)
	return c, nil
}

// take hands out a program for one check; give takes it back.
func (c *compiled) take() (*program, error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		p := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		return p, nil
	}
	c.mu.Unlock()
	return c.build()
}

func (c *compiled) give(p *program) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) < maxIdle {
		c.idle = append(c.idle, p)
	}
}

// program is a compiled definition with its meter. One check uses it at a time.
type program struct {
	schema *jsonschema.Schema
	meter  *meter
}

// build compiles the document under url. What resolve finds is added to
// documents, from where later builds take it.
func build(url string, documents map[string]any, resolve resolver, formats Formats, limits Limits) (p *program, err error) {
	// The compiler panics on some documents that are no schemas; what was handed
	// to it comes from outside.
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("the definition cannot be compiled: %v", r)
		}
	}()
	budget := &loader{documents: documents, resolve: resolve, limits: limits}
	if err := budget.admit(url, documents[url]); err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseRegexpEngine((&expressions{limit: limits.Pattern, known: make(map[string]*expression)}).compile)
	c.UseLoader(budget)
	if formats == FormatsAlways || formats == FormatsDialect && !declaresDialect(documents[url]) {
		c.AssertFormat()
	}
	if err := c.AddResource(url, documents[url]); err != nil {
		return nil, err
	}
	root, err := c.Compile(url)
	if err != nil {
		return nil, err
	}
	roots, err := compileAnchors(c, root, documents)
	if err != nil {
		return nil, err
	}
	all := reached(roots)
	if err := checkChains(all); err != nil {
		return nil, err
	}
	m := &meter{}
	m.instrument(all)
	return &program{schema: root, meter: m}, nil
}

// compileAnchors compiles what only a $dynamicRef can reach, so that all that
// can run is known.
func compileAnchors(c *jsonschema.Compiler, root *jsonschema.Schema, documents map[string]any) ([]*jsonschema.Schema, error) {
	roots := []*jsonschema.Schema{root}
	for _, url := range slices.Sorted(maps.Keys(documents)) {
		for _, at := range dynamicAnchors(documents[url], "", nil) {
			sch, err := c.Compile(url + "#" + at)
			if err != nil {
				return nil, err
			}
			roots = append(roots, sch)
		}
	}
	return roots, nil
}

// dynamicAnchors lists the places of v that have a $dynamicAnchor.
func dynamicAnchors(v any, at string, found []string) []string {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["$dynamicAnchor"].(string); ok {
			found = append(found, at)
		}
		for name, member := range v {
			// What is data is no schema.
			if !isData(name) {
				found = dynamicAnchors(member, at+"/"+urlEscape(pointerEscape.Replace(name)), found)
			}
		}
	case []any:
		for i, item := range v {
			found = dynamicAnchors(item, fmt.Sprintf("%s/%d", at, i), found)
		}
	}
	return found
}

// loader finds references, and counts what all documents together ask for.
type loader struct {
	documents map[string]any
	resolve   resolver
	limits    Limits

	subschemas int
	loaded     int
}

// Load implements jsonschema.URLLoader.
func (l *loader) Load(url string) (any, error) {
	if doc, ok := l.documents[url]; ok {
		return doc, l.admit(url, doc)
	}
	if l.resolve == nil {
		return nil, errForeignRef
	}
	if l.loaded++; l.loaded > l.limits.References {
		return nil, fmt.Errorf("the definition refers to more than %d schemas", l.limits.References)
	}
	doc, err := l.resolve(url)
	if err != nil {
		return nil, err
	}
	l.documents[url] = doc
	return doc, l.admit(url, doc)
}

var errForeignRef = errors.New("nothing is fetched; register the schema and refer to it by its agntcy identifier")

// admit lets a document in when all documents together are not too many
// subschemas.
func (l *loader) admit(url string, doc any) error {
	if err := checkReferences(doc, !strings.HasPrefix(url, Scheme)); err != nil {
		return err
	}
	l.subschemas += objects(doc)
	if l.subschemas > l.limits.Subschemas {
		return fmt.Errorf("the definition has more than %d subschemas, counting those it refers to", l.limits.Subschemas)
	}
	return nil
}

// objects counts what may be a subschema: each object and each boolean.
func objects(v any) int {
	n := 0
	switch v := v.(type) {
	case bool:
		n = 1
	case map[string]any:
		n = 1
		for _, member := range v {
			n += objects(member)
		}
	case []any:
		for _, item := range v {
			n += objects(item)
		}
	}
	return n
}

// checkReferences refuses a relative reference in a document that says nowhere
// what it is relative to: the compiler would take it for one to the document.
func checkReferences(v any, based bool) error {
	switch v := v.(type) {
	case map[string]any:
		if id, ok := v["$id"].(string); ok {
			if relative(id) && !based {
				return fmt.Errorf("$id %q is relative, and to nothing", clip(id))
			}
			based = true
		}
		for _, name := range []string{"$ref", "$dynamicRef", "$recursiveRef"} {
			if ref, ok := v[name].(string); ok && relative(ref) && !based {
				return fmt.Errorf("%s %q: %w", name, clip(ref), errForeignRef)
			}
		}
		for name, member := range v {
			if isData(name) {
				continue
			}
			if err := checkReferences(member, based); err != nil {
				return err
			}
		}
	case []any:
		for _, item := range v {
			if err := checkReferences(item, based); err != nil {
				return err
			}
		}
	}
	return nil
}

// relative reports whether ref needs a base; a mere fragment does not.
func relative(ref string) bool {
	if ref == "" || ref[0] == '#' {
		return false
	}
	scheme, _, found := strings.Cut(ref, ":")
	return !found || strings.ContainsAny(scheme, "/?#")
}

// isData reports whether the keyword holds values rather than schemas.
func isData(keyword string) bool {
	return keyword == "enum" || keyword == "const" || keyword == "default" || keyword == "examples"
}

func declaresDialect(doc any) bool {
	object, ok := doc.(map[string]any)
	return ok && object["$schema"] != nil
}

// expressions compiles the regular expressions of one definition, each once. RE2
// takes time linear in the text, but times the size of the program.
type expressions struct {
	limit int // of one; all together may be allExpressions times as large
	known map[string]*expression
	total int
}

const allExpressions = 10

// compile implements jsonschema.RegexpEngine.
func (e *expressions) compile(text string) (jsonschema.Regexp, error) {
	if known, ok := e.known[text]; ok {
		return known, nil
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("%w; expressions are RE2's, without look-ahead and back references", err)
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	size := len(prog.Inst)
	if size > e.limit {
		return nil, fmt.Errorf("the expression compiles to %d instructions, at most %d are allowed", size, e.limit)
	}
	if e.total += size; e.total > allExpressions*e.limit {
		return nil, fmt.Errorf("the expressions compile to more than %d instructions together", allExpressions*e.limit)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	e.known[text] = &expression{Regexp: re, size: size}
	return e.known[text], nil
}

// expression is a regular expression that knows what it costs.
type expression struct {
	*regexp.Regexp
	size int
}

// urlEscape makes a piece of a JSON pointer fit for a fragment.
func urlEscape(s string) string {
	return strings.NewReplacer("%", "%25", "#", "%23").Replace(s)
}

package amesh_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// pkg is the Go files of one folder.
type pkg struct {
	dir   string // slash-separated, from the root; "." is the root
	files []source
}

// source is one parsed file.
type source struct {
	path   string
	test   bool
	syntax *ast.File
}

// complaint is one place where the code left the map.
type complaint struct {
	path, why string
}

// rules are applied to every package. Each has its bad samples in
// arch_samples_test.go; a rule without one fails there.
var rules = []struct {
	name  string
	check func(pkg) []complaint
}{
	{"import map", checkImports},
	{"package comment", checkComment},
	{"libp2p stays in its rooms", checkLibp2p},
	{"pion stays in its room", checkPion},
	{"one signer", checkSigner},
	{"no clock, no dice", checkPure},
	{"testing stays in tests", checkTesting},
}

func checkImports(p pkg) []complaint {
	r, ok := roomOf(p.dir)
	if !ok {
		return []complaint{{p.dir, "no line of the map is about this package: add it to the map in arch_test.go"}}
	}
	var bad []complaint
	for _, f := range p.files {
		may := r.may
		if f.test {
			may = slices.Concat(may, forTests, []string{p.dir})
		}
		for _, imp := range f.imports() {
			if dir, ours := ourDir(imp.path); ours && !matchesAny(may, dir) {
				bad = append(bad, complaint{f.path, fmt.Sprintf("imports %s, but %s may import %s", imp.path, p.dir, orNothing(may))})
			}
		}
	}
	return bad
}

// commentWords is the length under which a package comment cannot be a sentence
// that says what the package is for.
const commentWords = 8

func checkComment(p pkg) []complaint {
	var doc string
	name := ""
	for _, f := range p.files {
		if f.test {
			continue
		}
		name = f.syntax.Name.Name
		doc += f.syntax.Doc.Text()
	}
	switch {
	case name == "":
		return nil // a folder of tests only
	case doc == "":
		return []complaint{{p.dir, "has no package comment: say what it is for"}}
	case len(strings.Fields(doc)) < commentWords:
		return []complaint{{p.dir, fmt.Sprintf("its package comment has under %d words: say what it is for", commentWords)}}
	case name != "main" && !strings.HasPrefix(doc, "Package "+name+" "):
		return []complaint{{p.dir, fmt.Sprintf("its package comment does not begin with \"Package %s \"", name)}}
	}
	return nil
}

// A libp2p type can only show in a signature where libp2p is imported, so the
// import is what is forbidden.
func checkLibp2p(p pkg) []complaint {
	if r, _ := roomOf(p.dir); r.libp2p {
		return nil
	}
	return forbidImports(p, "github.com/libp2p/", false, "libp2p belongs to dht, relay, node, testnet, internal/ice and cmd/amesh")
}

func checkPion(p pkg) []complaint {
	if r, _ := roomOf(p.dir); r.pion {
		return nil
	}
	return forbidImports(p, "github.com/pion/", true, "all ICE code sits in internal/ice, so that a new pion is a one-package move")
}

func checkTesting(p pkg) []complaint {
	if r, _ := roomOf(p.dir); r.testing {
		return nil
	}
	return forbidImports(p, "testing", false, "what imports testing would be linked into the binary")
}

// checkSigner keeps every signature behind identity's tags: a bare ed25519.Sign
// elsewhere could make a signature that is valid for another purpose (T04).
func checkSigner(p pkg) []complaint {
	if p.dir == "identity" {
		return nil
	}
	var bad []complaint
	for _, f := range p.files {
		if f.test {
			continue
		}
		for _, from := range []string{"crypto/ed25519", "golang.org/x/crypto/ed25519"} {
			for _, use := range f.uses(from, "Sign") {
				bad = append(bad, complaint{f.path, use + ": sign with identity.PrivateKey.Sign and a tag"})
			}
		}
	}
	return bad
}

func checkPure(p pkg) []complaint {
	if r, _ := roomOf(p.dir); !r.pure {
		return nil
	}
	bad := forbidImports(p, "math/rand", false, "randomness is passed in, and comes from crypto/rand")
	for _, f := range p.files {
		if f.test {
			continue
		}
		for _, use := range f.uses("time", "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer") {
			bad = append(bad, complaint{f.path, use + ": the time is an argument here"})
		}
	}
	return bad
}

// forbidImports complains about imports of prefix itself and of all below it.
func forbidImports(p pkg, prefix string, testsToo bool, why string) []complaint {
	var bad []complaint
	for _, f := range p.files {
		if f.test && !testsToo {
			continue
		}
		for _, imp := range f.imports() {
			if matches(strings.TrimSuffix(prefix, "/")+"/...", imp.path) {
				bad = append(bad, complaint{f.path, fmt.Sprintf("imports %s: %s", imp.path, why)})
			}
		}
	}
	return bad
}

// link is one package of the binary and what it imports.
type link struct {
	path    string
	imports []string
}

func wronglyLinked(links []link) []string {
	if len(links) == 0 {
		return []string{"the binary has no packages: nothing was checked"}
	}
	var bad []string
	for _, l := range links {
		dir, ours := ourDir(l.path)
		if ours && matchesAny(neverLinked, dir) {
			bad = append(bad, fmt.Sprintf("cmd/amesh links %s, which is for tests only", l.path))
		}
		foreign := strings.Contains(strings.Split(l.path, "/")[0], ".")
		if !ours && !foreign || slices.Contains(linksTesting, l.path) {
			continue
		}
		if slices.Contains(l.imports, "testing") {
			bad = append(bad, fmt.Sprintf("cmd/amesh links testing through %s", l.path))
		}
	}
	return bad
}

// withoutReason lists the direct requirements of a go.mod that a text never
// names between back quotes.
func withoutReason(gomod, text string) []string {
	var bad []string
	inBlock := false
	for line := range strings.Lines(gomod) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
			continue
		case words[0] == "require" && len(words) == 2 && words[1] == "(":
			inBlock = true
			continue
		case words[0] == ")":
			inBlock = false
			continue
		case words[0] == "require":
			words = words[1:]
		case !inBlock:
			continue
		}
		if len(words) >= 2 && !strings.HasSuffix(strings.TrimSpace(line), "// indirect") && !strings.Contains(text, "`"+words[0]+"`") {
			bad = append(bad, words[0])
		}
	}
	return bad
}

type imported struct {
	name string // the name in the file: an alias, or what the path suggests
	path string
}

func (f source) imports() []imported {
	var list []imported
	for _, spec := range f.syntax.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has refused such a file already
		}
		imp := imported{name: path.Base(p), path: p}
		if spec.Name != nil {
			imp.name = spec.Name.Name
		}
		list = append(list, imp)
	}
	return list
}

// uses lists where the file names one of the given functions of a package,
// called or not. A dot import hides the names and counts as a use.
func (f source) uses(from string, names ...string) []string {
	var found []string
	for _, imp := range f.imports() {
		if imp.path != from {
			continue
		}
		if imp.name == "." {
			found = append(found, "a dot import of "+from)
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == imp.name && slices.Contains(names, sel.Sel.Name) {
				found = append(found, imp.name+"."+sel.Sel.Name)
			}
			return true
		})
	}
	return found
}

func roomOf(dir string) (room, bool) {
	for _, r := range rooms {
		if matches(r.dir, dir) {
			return r, true
		}
	}
	return room{}, false
}

func matches(pattern, dir string) bool {
	if pattern == "..." {
		return true
	}
	if base, below := strings.CutSuffix(pattern, "/..."); below {
		return dir == base || strings.HasPrefix(dir, base+"/")
	}
	return dir == pattern
}

func matchesAny(patterns []string, dir string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, dir) })
}

// ourDir turns an import path of this module into its folder.
func ourDir(importPath string) (dir string, ours bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func orNothing(may []string) string {
	if len(may) == 0 {
		return "none of our packages"
	}
	return strings.Join(may, ", ")
}

// parseTree reads every Go file under root that belongs to this module.
func parseTree(root string) ([]pkg, error) {
	var pkgs []pkg
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name != root && skipped(name, d.Name()) {
			return filepath.SkipDir
		}
		p, err := parseDir(name)
		if len(p.files) > 0 {
			pkgs = append(pkgs, p)
		}
		return err
	})
	return pkgs, err
}

// skipped says which folders the go command leaves out, too.
func skipped(name, base string) bool {
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "vendor" {
		return true
	}
	_, err := os.Stat(filepath.Join(name, "go.mod")) // a module of its own
	return err == nil
}

func parseDir(name string) (pkg, error) {
	p := pkg{dir: filepath.ToSlash(name)}
	files, err := filepath.Glob(filepath.Join(name, "*.go"))
	if err != nil {
		return p, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return p, err
		}
		s, err := parseSource(filepath.ToSlash(file), text)
		if err != nil {
			return p, err
		}
		p.files = append(p.files, s)
	}
	return p, nil
}

func parseSource(name string, text []byte) (source, error) {
	f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
	return source{path: name, test: strings.HasSuffix(name, "_test.go"), syntax: f}, err
}

package ratchet

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// secretTypes are the types whose values must not be compared byte by byte: the
// time that takes tells where they differ.
var secretTypes = []string{
	"amesh/ratchet.Secret", "amesh/ratchet.KEMSeed", "amesh/identity.PrivateKey", "amesh/identity.ExchangeKey",
}

// comparers are functions that stop at the first difference.
var comparers = []string{"bytes.Equal", "bytes.Compare", "slices.Equal", "slices.Compare", "reflect.DeepEqual", "cmp.Equal"}

// T13: nothing in the tree compares secrets but by crypto/subtle. What no type
// tells apart, such as tokens, is outside of this test.
func TestT13SecretsAreNotCompared(t *testing.T) {
	l := newLinter("..")
	packages := 0
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if base := d.Name(); base != ".." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "tools") {
			return filepath.SkipDir
		}
		rel, err := filepath.Rel("..", name)
		if err != nil {
			return err
		}
		if p, err := l.load(filepath.ToSlash(rel)); err != nil {
			return err
		} else if p != nil {
			packages++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if packages < 10 || l.secrets < 50 {
		t.Fatalf("looked at %d packages with %d uses of secrets: the test does not see the tree", packages, l.secrets)
	}
	for _, c := range l.complaints {
		t.Error(c)
	}
}

// The test above can fail.
func TestT13FindsComparisons(t *testing.T) {
	dir := t.TempDir()
	src := `package ratchet

import "bytes"

type Secret [32]byte
type pair struct{ a Secret }

func bad(s, u Secret, p, q pair, b []byte) bool {
	return s == u || p != q || bytes.Equal(s[:], b) || string(s[:]) == string(b) || s == Secret{}
}

func good(s Secret, b [32]byte) bool { return len(s) == 32 && b == [32]byte{} && s.public() == b }
func (s Secret) public() [32]byte { return [32]byte{} }
`
	if err := os.MkdirAll(filepath.Join(dir, "ratchet"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ratchet", "a.go"), []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLinter(dir)
	if _, err := l.load("ratchet"); err != nil {
		t.Fatal(err)
	}
	if len(l.complaints) != 5 {
		t.Errorf("%d complaints, want 5: %q", len(l.complaints), l.complaints)
	}
}

// linter checks the types of our own packages. Those of others it does not know:
// what they give has no type, and what is ours has.
type linter struct {
	root       string
	fset       *token.FileSet
	done       map[string]*types.Package
	secrets    int
	complaints []string
}

func newLinter(root string) *linter {
	return &linter{root: root, fset: token.NewFileSet(), done: make(map[string]*types.Package)}
}

// Import gives our own package, checked, or an empty one of that name.
func (l *linter) Import(path string) (*types.Package, error) {
	dir, ours := strings.CutPrefix(path, "amesh/")
	if ours {
		if p, err := l.load(dir); p != nil || err != nil {
			return p, err
		}
	}
	p := types.NewPackage(path, filepath.Base(path))
	p.MarkComplete()
	return p, nil
}

// load checks the package in a folder, nil if there is none.
func (l *linter) load(dir string) (*types.Package, error) {
	if p, ok := l.done[dir]; ok {
		return p, nil
	}
	names, err := filepath.Glob(filepath.Join(l.root, dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(l.fset, name, nil, 0)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, nil
	}
	info := &types.Info{Types: make(map[ast.Expr]types.TypeAndValue)}
	conf := types.Config{Importer: l, Error: func(error) {}} // others' packages are empty
	p, _ := conf.Check("amesh/"+dir, l.fset, files, info)
	l.done[dir] = p
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool { l.look(info, n); return true })
	}
	return p, nil
}

func (l *linter) look(info *types.Info, n ast.Node) {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if (n.Op == token.EQL || n.Op == token.NEQ) && (l.holds(info, n.X) || l.holds(info, n.Y)) {
			l.complain(n, "compares a secret with "+n.Op.String())
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.SelectorExpr); ok && slices.Contains(comparers, types.ExprString(f)) {
			if slices.ContainsFunc(n.Args, func(a ast.Expr) bool { return l.holds(info, a) }) {
				l.complain(n, "compares a secret with "+types.ExprString(f))
			}
		}
	case ast.Expr:
		if isSecret(info.TypeOf(n), 0) {
			l.secrets++
		}
	}
}

func (l *linter) complain(n ast.Node, why string) {
	l.complaints = append(l.complaints, l.fset.Position(n.Pos()).String()+": "+why)
}

// holds says whether the value of e is a secret, or bytes of one. What a function
// makes of a secret is another value.
func (l *linter) holds(info *types.Info, e ast.Expr) bool {
	if isSecret(info.TypeOf(e), 0) {
		return true
	}
	switch e := e.(type) {
	case *ast.ParenExpr:
		return l.holds(info, e.X)
	case *ast.SliceExpr:
		return l.holds(info, e.X)
	case *ast.CallExpr: // a conversion
		return info.Types[e.Fun].IsType() && len(e.Args) == 1 && l.holds(info, e.Args[0])
	}
	return false
}

// isSecret says whether values of the type have a secret in them.
func isSecret(t types.Type, depth int) bool {
	if t == nil || depth > 5 {
		return false
	}
	if n, ok := types.Unalias(t).(*types.Named); ok && n.Obj().Pkg() != nil {
		if slices.Contains(secretTypes, n.Obj().Pkg().Path()+"."+n.Obj().Name()) {
			return true
		}
	}
	switch u := t.Underlying().(type) {
	case *types.Array:
		return isSecret(u.Elem(), depth+1)
	case *types.Struct:
		for f := range u.Fields() {
			if isSecret(f.Type(), depth+1) {
				return true
			}
		}
	}
	return false
}

// Package report shows a run of a testnet as one HTML page. Everything is in it: the page
// needs no script, no style sheet and no picture from anywhere, can be mailed, and is the
// same for ever. The mesh is drawn as a circle of nodes, with a line for every two of them in the
// colour of the worse of its two ways.
package report

import (
	"cmp"
	"fmt"
	"html/template"
	"io"
	"math"
	"time"

	_ "embed"

	"amesh/node/api"
	"amesh/testnet/scenario"
)

//go:embed page.html
var pageText string

// Write writes the page of a run. version is that of the amesh that ran it.
func Write(w io.Writer, version string, run scenario.Run) error {
	t, err := template.New("page").Funcs(template.FuncMap{
		"seconds": func(ms int64) string { return fmt.Sprintf("%.1f s", float64(ms)/1000) },
		"utc":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"class":   func(p scenario.Path) string { return string(classOf(p)) },
	}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	err = t.Execute(w, map[string]any{"Version": version, "Run": run, "Drawing": draw(run.Picture)})
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// class is how a path is coloured, the better first.
type class string

const (
	classDirect  class = "direct"  // open, direct or punched: green
	classRelayed class = "relayed" // amber
	classUnused  class = "unused"  // nobody had anything to say: grey
	classDown    class = "down"    // red
)

// rank orders classes: of the two ways between nodes the one with the higher rank is shown.
var rank = map[class]int{classUnused: 0, classDirect: 1, classRelayed: 2, classDown: 3}

func classOf(p scenario.Path) class {
	switch {
	case p.Down:
		return classDown
	case p.Kind == api.PathRelayed:
		return classRelayed
	case p.Kind == api.PathNone && p.Waiting > 0:
		return classDown
	case p.Kind == api.PathNone || p.Kind == "":
		return classUnused
	}
	return classDirect
}

// The drawing's size, in the units of its view box.
const (
	side       = 700
	middle     = side / 2
	nodeRadius = 230
	noteRadius = nodeRadius + 30 // what is in front of a node, on its outer side
)

type drawing struct {
	Side   int
	Lines  []line
	Nodes  []spot
	Relays []spot
}

type line struct {
	X1, Y1, X2, Y2 string
	Class          class
	Title          string
}

type spot struct {
	X, Y         string
	NoteX, NoteY string
	Anchor       string // of the note: it must not cover the node
	Name, Note   string
	Down         bool
}

func draw(p scenario.Picture) drawing {
	d := drawing{Side: side}
	at := make(map[string][2]float64)
	for i, n := range p.Nodes {
		x, y := around(i, len(p.Nodes), nodeRadius)
		at[n.Name] = [2]float64{x, y}
		noteX, noteY := around(i, len(p.Nodes), noteRadius)
		d.Nodes = append(d.Nodes, spot{X: short(x), Y: short(y), NoteX: short(noteX), NoteY: short(noteY), Anchor: anchor(noteX), Name: n.Name, Note: string(n.Kind), Down: n.Down})
	}
	for i, name := range p.Relays {
		d.Relays = append(d.Relays, spot{X: short(30), Y: short(float64(25 + 40*i)), Name: name})
	}
	for _, pair := range pairs(p.Paths) {
		a, b := at[pair.a], at[pair.b]
		d.Lines = append(d.Lines, line{X1: short(a[0]), Y1: short(a[1]), X2: short(b[0]), Y2: short(b[1]), Class: pair.class, Title: pair.title})
	}
	return d
}

// pair is two nodes and how they reach each other.
type pair struct {
	a, b  string
	class class
	title string
}

// pairs puts the two ways between nodes together, in the order in which they are first
// named.
func pairs(paths []scenario.Path) []pair {
	var all []pair
	index := make(map[[2]string]int)
	for _, p := range paths {
		a, b := p.From, p.To
		if cmp.Compare(a, b) > 0 {
			a, b = b, a
		}
		says := fmt.Sprintf("%s to %s: %s", p.From, p.To, Words(p))
		i, known := index[[2]string{a, b}]
		if !known {
			index[[2]string{a, b}] = len(all)
			all = append(all, pair{a, b, classOf(p), says})
			continue
		}
		if c := classOf(p); rank[c] > rank[all[i].class] {
			all[i].class = c
		}
		all[i].title += "; " + says
	}
	return all
}

// Words is a path in a word or two.
func Words(p scenario.Path) string {
	switch {
	case p.Down:
		return "down"
	case p.Kind == "":
		return string(api.PathNone)
	}
	return string(p.Kind)
}

// around is place i of n on a circle, beginning at the top.
func around(i, n int, radius float64) (x, y float64) {
	turn := 2*math.Pi*float64(i)/float64(n) - math.Pi/2
	return middle + radius*math.Cos(turn), middle + radius*math.Sin(turn)
}

// anchor is the end of a text at x that is nearer to the middle.
func anchor(x float64) string {
	switch {
	case x > middle+nodeRadius/4:
		return "start"
	case x < middle-nodeRadius/4:
		return "end"
	}
	return "middle"
}

func short(v float64) string { return fmt.Sprintf("%.1f", v) }

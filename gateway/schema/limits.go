package schema

import (
	"runtime"
	"time"
)

// What the names fix.
const (
	// MaxLabel is how long a domain or an entity may be, in bytes.
	MaxLabel         = 64
	maxVersionDigits = 9
	maxPattern       = 256
)

// Limits bound what a definition and a payload may cost. The zero value of a
// field stands for its default.
type Limits struct {
	// Definition is how large a definition may be, in bytes. 256 KiB.
	Definition int
	// DefinitionDepth is how deep a definition may be nested. 64.
	DefinitionDepth int
	// Subschemas is how many objects a definition may have, counting the
	// schemas that it refers to. 2,000.
	Subschemas int
	// References is how many other schemas a definition may refer to, directly
	// or through others. 16.
	References int
	// Pattern is how many instructions one regular expression may compile to; all
	// of a definition together may be ten times as many. 2,000.
	Pattern int
	// Payload is how large a payload may be to be checked, in bytes. 10 MiB.
	Payload int
	// PayloadDepth is how deep a payload may be nested. 64.
	PayloadDepth int
	// Steps is how many comparisons of a value with a subschema one check may
	// take. 500,000.
	Steps int
	// Time is how long one check may take. 1 s.
	Time time.Duration
	// Problems is how many errors are reported. 32.
	Problems int
	// Compiled is how many definitions are kept compiled. 256.
	Compiled int
	// Cached is how many answers of the registry are kept, in entries. 4,096.
	Cached int
	// Checks is how many checks run at a time; others wait. Twice the processors.
	Checks int
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&l.Definition, 256 << 10}, {&l.DefinitionDepth, 64}, {&l.Subschemas, 2000}, {&l.References, 16},
		{&l.Pattern, 2000}, {&l.Payload, 10 << 20}, {&l.PayloadDepth, 64}, {&l.Steps, 500_000},
		{&l.Problems, 32}, {&l.Compiled, 256}, {&l.Cached, 4096}, {&l.Checks, 2 * runtime.GOMAXPROCS(0)},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	if l.Time <= 0 {
		l.Time = time.Second
	}
	return l
}

// Package bench measures what the product does against a floor: the same result
// with as little work as can be, in the same process and in the same minute. On a
// machine that others use too an absolute time is good to a factor of two, while
// the ratio of two that took turns is good to a few percent. A ratio is the speed
// of the product divided by the speed of the floor.
package bench

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Run does n operations and returns how long they took. What it needs besides may
// be left out of the time.
type Run func(n int) (time.Duration, error)

// Loop is the Run that calls op n times and takes the processor's time.
func Loop(op func() error) Run {
	return func(n int) (time.Duration, error) {
		start := CPU()
		for range n {
			if err := op(); err != nil {
				return 0, err
			}
		}
		return CPU() - start, nil
	}
}

// Case is one line of the table.
type Case struct {
	Name    string
	Floor   Run
	Product Run
	Bar     float64       // ratio below which the case is missed; 0: none is asked
	Aim     float64       // ratio that we would like; 0: none
	Slice   time.Duration // how long a turn is; 0 is 20 ms
}

const (
	// defaultSlice is short, because a machine that others use too has good and bad
	// moments, and both sides should have the same ones.
	defaultSlice = 20 * time.Millisecond
	// roundTime is how long a case's turns take in a round, if each is not longer.
	roundTime     = 400 * time.Millisecond
	defaultRounds = 7
	minRounds     = 5
)

// Result is what a case came to: the time of an operation in each round.
type Result struct {
	Case
	FloorTimes   []time.Duration
	ProductTimes []time.Duration
}

// Measure runs all cases, in each of the rounds. It returns the first error of a case.
func Measure(cases []Case, rounds int) ([]Result, error) {
	results := make([]Result, len(cases))
	counts := make([][2]int, len(cases))
	for i, c := range cases {
		results[i].Case = c
		for j, run := range []Run{c.Floor, c.Product} {
			n, err := calibrate(run, c.slice())
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			counts[i][j] = n
		}
	}
	for n := range rounds {
		for i := range results {
			if err := results[i].round(n, counts[i]); err != nil {
				return nil, fmt.Errorf("%s: %w", results[i].Name, err)
			}
		}
	}
	return results, nil
}

func (c *Case) slice() time.Duration {
	if c.Slice == 0 {
		return defaultSlice
	}
	return c.Slice
}

// calibrate is the number of operations that fill a slice; finding it warms up. Of two
// runs the quicker counts, because a moment in which the machine stood still would make
// all slices too short.
func calibrate(run Run, slice time.Duration) (int, error) {
	for n := 1; ; {
		took, err := run(n)
		if err != nil {
			return 0, err
		}
		again, err := run(n)
		if err != nil {
			return 0, err
		}
		took = min(took, again)
		fill := int(float64(n) * float64(slice) / float64(max(took, 1)))
		if took >= slice/2 {
			return max(1, fill), nil
		}
		n = min(max(fill, 2*n), 100*n)
	}
}

// round lets floor and product take turns. Who begins changes from pair to pair, so
// that neither always comes after the other.
func (r *Result) round(number int, counts [2]int) error {
	pairs := max(1, int(roundTime/(2*r.slice())))
	runs := [2]Run{r.Floor, r.Product}
	var took [2]time.Duration
	for pair := range pairs {
		for turn := range 2 {
			i := (number + pair + turn) % 2
			d, err := runs[i](counts[i])
			if err != nil {
				return err
			}
			took[i] += d
		}
	}
	r.FloorTimes = append(r.FloorTimes, took[0]/time.Duration(pairs*counts[0]))
	r.ProductTimes = append(r.ProductTimes, took[1]/time.Duration(pairs*counts[1]))
	return nil
}

// Ratios are the ratios of the rounds.
func (r *Result) Ratios() []float64 {
	ratios := make([]float64, len(r.FloorTimes))
	for i, floor := range r.FloorTimes {
		ratios[i] = float64(floor) / float64(r.ProductTimes[i])
	}
	return ratios
}

// Ratio is the median of them, by which a bar is met: what floor and product had in
// the same moment is compared, and no round counts for more than the others.
func (r *Result) Ratio() float64 { return Median(r.Ratios()) }

// Missed reports whether the product is below its bar.
func (r *Result) Missed() bool { return r.Ratio() < r.Bar }

// Median is the middle one, of an even number the earlier of the two in the middle.
func Median[T cmp.Ordered](list []T) T {
	s := slices.Sorted(slices.Values(list))
	return s[(len(s)-1)/2]
}

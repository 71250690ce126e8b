package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// alternate lets product and floor take turns. Who begins changes, so that neither always
// comes after the other. The first turns, in which caches fill, do not count.
func alternate(o options, product, floor func() error) (p, f []turn, err error) {
	for _, do := range []func() error{product, floor} {
		if _, err := take(o.clients, o.slice/2, do); err != nil {
			return nil, nil, err
		}
	}
	for round := range o.rounds {
		for i := range 2 {
			do, to := product, &p
			if i != round%2 {
				do, to = floor, &f
			}
			t, err := take(o.clients, o.slice, do)
			if err != nil {
				return nil, nil, err
			}
			*to = append(*to, t)
		}
	}
	return p, f, nil
}

func rates(turns []turn) (list []float64) {
	for _, t := range turns {
		list = append(list, t.rate())
	}
	return list
}

func times(turns []turn) (list []time.Duration) {
	for _, t := range turns {
		list = append(list, t.times...)
	}
	return list
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// percentile is the time within which so many of a hundred were done.
func percentile(list []time.Duration, n int) time.Duration {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[(len(sorted)*n+99)/100-1]
}

// report is the table, and how many bars were missed.
type report struct {
	w      io.Writer
	missed int
}

func (r *report) head() {
	fmt.Fprintf(r.w, "%-48s %12s %12s %8s %10s\n", "what", "product", "floor", "ratio", "bar")
}

func (r *report) foot() { fmt.Fprintf(r.w, "bars missed: %d\n", r.missed) }

func (r *report) line(what, product, floor, ratio, bar string, good bool) {
	mark := ""
	if !good {
		r.missed++
		mark = "  missed"
	}
	fmt.Fprintf(r.w, "%-48s %12s %12s %8s %10s%s\n", what, product, floor, ratio, bar, mark)
}

// ratio has to be at least bar: the median of what it was in each round.
func (r *report) ratio(what string, product, floor []turn, bar float64) {
	var list []float64
	for i := range product {
		list = append(list, product[i].rate()/floor[i].rate())
	}
	got := median(list)
	r.line(what, fmt.Sprintf("%.0f/s", median(rates(product))), fmt.Sprintf("%.0f/s", median(rates(floor))), fmt.Sprintf("%.2f", got),
		fmt.Sprintf("≥ %.2f", bar), got >= bar)
}

func (r *report) least(what string, got, bar float64) {
	r.line(what, fmt.Sprintf("%.0f", got), "", "", fmt.Sprintf("≥ %.0f", bar), got >= bar)
}

func (r *report) most(what string, got, bar float64) {
	r.line(what, fmt.Sprintf("%.1f", got), "", "", fmt.Sprintf("≤ %.0f", bar), got <= bar)
}

func (r *report) late(what string, got, bar time.Duration) {
	r.line(what, fmt.Sprintf("%.2f ms", got.Seconds()*1000), "", "", "< "+bar.String(), got < bar)
}

func (r *report) note(what string, got float64) {
	r.line(what, fmt.Sprintf("%.0f", got), "", "", "", true)
}

package bench

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Options are what every bench can be told on its command line.
type Options struct {
	Rounds int
	JSON   bool
}

// Register makes the options flags.
func (o *Options) Register(fs *flag.FlagSet) {
	o.Rounds = defaultRounds
	usage := fmt.Sprintf("let floor and product take turns in `n` rounds, at least %d (default %d)", minRounds, defaultRounds)
	fs.Func("rounds", usage, func(text string) error {
		n, err := strconv.Atoi(text)
		if err == nil && n < minRounds {
			err = fmt.Errorf("%d rounds make no median", n)
		}
		o.Rounds = n
		return err
	})
	fs.BoolVar(&o.JSON, "json", false, "print one JSON object a line instead of the table")
}

// Report prints the results and returns how many bars were missed.
func (o *Options) Report(w io.Writer, results []Result) (missed int, err error) {
	for i := range results {
		if results[i].Missed() {
			missed++
		}
	}
	if o.JSON {
		return missed, writeJSON(w, results)
	}
	return missed, writeTable(w, results)
}

func writeTable(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "µs an operation: median (least to most)\tfloor\tproduct\tratio\tbar\taim\n")
	for i := range results {
		r := &results[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, spread(r.FloorTimes, micros), spread(r.ProductTimes, micros),
			spread(r.Ratios(), hundredths), against(r.Ratio(), r.Bar, "ok", "MISSED"), against(r.Ratio(), r.Aim, "reached", "not reached"))
	}
	return t.Flush()
}

func against(ratio, want float64, yes, no string) string {
	switch {
	case want == 0:
		return "-"
	case ratio >= want:
		return fmt.Sprintf("%.2f %s", want, yes)
	}
	return fmt.Sprintf("%.2f %s", want, no)
}

func spread[T cmp.Ordered](list []T, text func(T) string) string {
	return fmt.Sprintf("%s (%s to %s)", text(Median(list)), text(slices.Min(list)), text(slices.Max(list)))
}

func hundredths(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }

// micros has three digits that count.
func micros(d time.Duration) string {
	us := float64(d) / float64(time.Microsecond)
	return strconv.FormatFloat(us, 'f', max(0, 3-len(strconv.Itoa(int(us)))), 64)
}

func writeJSON(w io.Writer, results []Result) error {
	enc := json.NewEncoder(w)
	for i := range results {
		r := &results[i]
		err := enc.Encode(struct {
			Name      string          `json:"name"`
			Ratio     float64         `json:"ratio"`
			Ratios    []float64       `json:"ratios"`
			Bar       float64         `json:"bar,omitempty"`
			Aim       float64         `json:"aim,omitempty"`
			Missed    bool            `json:"missed"`
			FloorNS   []time.Duration `json:"floor_ns"`
			ProductNS []time.Duration `json:"product_ns"`
		}{r.Name, r.Ratio(), r.Ratios(), r.Bar, r.Aim, r.Missed(), r.FloorTimes, r.ProductTimes})
		if err != nil {
			return err
		}
	}
	return nil
}

// Machine says what one has to know beside a table: the processors, and the load of
// the last minute where the system tells it.
func Machine() string {
	cpus := fmt.Sprintf("%d CPUs", runtime.NumCPU())
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return cpus
	}
	load, _, _ := strings.Cut(string(b), " ")
	return cpus + ", load " + load
}

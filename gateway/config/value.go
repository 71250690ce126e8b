package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// leastBare is the shortest duration that a bare number in a file may be. Agentry reads
// such a number as nanoseconds, and whoever writes 30 means something else.
const leastBare = time.Millisecond

// parse puts a text, of the environment or the command line, into the key's place.
func (k key) parse(text string) error {
	switch at := k.at.(type) {
	case *string:
		return k.text(at, text)
	case *bool:
		return truth(at, text)
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("want a number, not %.40q", text)
		}
		return k.number(int64(n), func() { *at = n })
	case *int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("want a number, not %.40q", text)
		}
		return k.number(n, func() { *at = n })
	case *time.Duration:
		d, err := k.duration(text)
		if err != nil {
			return err
		}
		return k.number(int64(d), func() { *at = d })
	case *[]string:
		*at = list(text)
		return nil
	case *map[string]string:
		// The parser's own words would show what stands there, which may be a secret.
		var m map[string]string
		if err := json.Unmarshal([]byte(text), &m); err != nil || m == nil {
			return errors.New(`want a JSON object of texts, such as {"name":"text"}`)
		}
		*at = m
		return nil
	}
	panic("config: no such kind of key: " + k.name)
}

// take puts a value of the file into the key's place.
func (k key) take(value any) error {
	switch at := k.at.(type) {
	case *[]string:
		values, ok := texts(value)
		if !ok {
			return errors.New("want a list of texts")
		}
		*at = values
		return nil
	case *map[string]string:
		m, ok := value.(map[string]any)
		if !ok {
			return errors.New("want names and texts")
		}
		*at = make(map[string]string, len(m))
		for name, v := range m {
			(*at)[name] = fmt.Sprint(v)
		}
		return nil
	case *time.Duration:
		if n, ok := value.(int); ok && !k.seconds {
			if d := time.Duration(n); d >= leastBare {
				return k.number(int64(d), func() { *at = d })
			}
			return fmt.Errorf("want a duration with its unit, such as %ds, not %d", max(n, 1), n)
		}
	case *string:
		if _, ok := value.(string); !ok && k.oneOf == nil && k.name != "version" {
			// 0123 and 1e3 would not be the text that stands there any more.
			return errors.New("want text: write it in quotes")
		}
	}
	switch v := value.(type) {
	case string:
		return k.parse(v)
	case bool, int, int64, uint64:
		return k.parse(fmt.Sprint(v))
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return k.parse(strconv.FormatInt(int64(v), 10))
		}
		return k.parse(strconv.FormatFloat(v, 'g', -1, 64))
	}
	return errors.New("want one value")
}

func (k key) text(at *string, text string) error {
	if k.oneOf != nil && !slices.Contains(k.oneOf, strings.ToLower(text)) {
		return fmt.Errorf("want %s, not %.40q", either(k.oneOf), text)
	}
	if k.oneOf != nil {
		text = strings.ToLower(text)
	}
	*at = text
	return nil
}

func (k key) number(n int64, set func()) error {
	switch {
	case n < 0:
		return errors.New("want no less than 0")
	case n == 0 && !k.zero:
		return errors.New("want more than 0")
	}
	set()
	return nil
}

func (k key) duration(text string) (time.Duration, error) {
	if n, err := strconv.ParseInt(text, 10, 32); err == nil && k.seconds {
		return time.Duration(n) * time.Second, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("want a duration such as 30s, 5m or 168h, not %.40q", text)
	}
	return d, nil
}

func truth(at *bool, text string) error {
	switch strings.ToLower(text) {
	case "yes", "on":
		*at = true
		return nil
	case "no", "off":
		*at = false
		return nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("want true or false, not %.40q", text)
	}
	*at = b
	return nil
}

// list splits at commas.
func list(text string) []string {
	var all []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}

// texts are those of a list in the file, or of one text.
func texts(value any) (all []string, ok bool) {
	switch v := value.(type) {
	case string:
		return list(v), true
	case []any:
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			all = append(all, s)
		}
		return all, true
	}
	return nil, false
}

// either lists words as a person would.
func either(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

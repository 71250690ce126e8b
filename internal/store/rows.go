package store

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"slices"
	"sort"
)

// Keys of the store itself, and of Badger. The prefixes are long, because a node's
// keys begin with an AMID, whose bytes can be any: one byte would shut out one
// agent in 256.
var (
	ownPrefix    = []byte("!store!")
	badgerPrefix = []byte("!badger!")
)

func isReserved(key []byte) bool {
	return bytes.HasPrefix(key, ownPrefix) || bytes.HasPrefix(key, badgerPrefix)
}

// row is one key with its value, or with the news that it is gone. Rows never
// change once they are in a list, so lists may share them.
type row struct {
	key   []byte
	value []byte
	gone  bool
}

// rows is a list in ascending key order without repetitions.
type rows []*row

// find gives the position of key, or where it would be.
func (rs rows) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(rs, key, func(r *row, key []byte) int {
		return bytes.Compare(r.key, key)
	})
}

// merge lays newer over older. Rows that are gone stay in the list as long as
// there is something below that they hide.
func merge(older, newer rows, keepGone bool) rows {
	out := make(rows, 0, len(older)+len(newer))
	add := func(r *row) {
		if keepGone || !r.gone {
			out = append(out, r)
		}
	}
	for len(older) > 0 && len(newer) > 0 {
		switch c := bytes.Compare(older[0].key, newer[0].key); {
		case c < 0:
			out, older = append(out, older[0]), older[1:]
		case c > 0:
			add(newer[0])
			newer = newer[1:]
		default:
			add(newer[0])
			older, newer = older[1:], newer[1:]
		}
	}
	out = append(out, older...)
	for _, r := range newer {
		add(r)
	}
	return out
}

// start is the first key a scan may give.
func start(prefix, from []byte) []byte {
	if bytes.Compare(from, prefix) > 0 {
		return from
	}
	return prefix
}

// within cuts the list to the keys of a scan.
func (rs rows) within(prefix, from []byte) rows {
	i, _ := rs.find(start(prefix, from))
	rs = rs[i:]
	return rs[:sort.Search(len(rs), func(n int) bool { return !bytes.HasPrefix(rs[n].key, prefix) })]
}

// Get makes a list of rows a Reader: an image of a whole store.
func (rs rows) Get(key []byte) ([]byte, error) {
	if i, ok := rs.find(key); ok && !rs[i].gone {
		return rs[i].value, nil
	}
	return nil, ErrNotFound
}

// Scan calls f for the rows of the image.
func (rs rows) Scan(prefix, from []byte, f func(key, value []byte) bool) error {
	for _, r := range rs.within(prefix, from) {
		if !r.gone && !f(r.key, r.value) {
			break
		}
	}
	return nil
}

// layer is a Reader that sees a list of written rows above something older.
type layer struct {
	written rows
	below   Reader
}

func (l *layer) Get(key []byte) ([]byte, error) {
	if i, ok := l.written.find(key); ok {
		if l.written[i].gone {
			return nil, ErrNotFound
		}
		return l.written[i].value, nil
	}
	return l.below.Get(key)
}

func (l *layer) Scan(prefix, from []byte, f func(key, value []byte) bool) error {
	above, more := l.written.within(prefix, from), true
	give := func(r *row) bool {
		above = above[1:]
		return r.gone || f(r.key, r.value)
	}
	err := l.below.Scan(prefix, from, func(key, value []byte) bool {
		for more && len(above) > 0 && bytes.Compare(above[0].key, key) < 0 {
			more = give(above[0])
		}
		if !more {
			return false
		}
		if len(above) > 0 && bytes.Equal(above[0].key, key) {
			more = give(above[0])
		} else {
			more = f(key, value)
		}
		return more
	})
	for err == nil && more && len(above) > 0 {
		more = give(above[0])
	}
	return err
}

// overlay is the Tx that an Update's f is given. What f writes stays here until
// it is merged into the commit, so that an f that fails leaves nothing.
type overlay struct {
	layer
	size size
	err  error
}

// size is what rows cost in a commit.
type size struct {
	rows, inline, payload int
}

func sizeOf(r *row) size {
	inline := len(r.key) + rowOverhead
	if len(r.value) < inlineValue {
		inline += len(r.value)
	}
	return size{rows: 1, inline: inline, payload: len(r.value)}
}

func (s size) plus(o size) size {
	return size{s.rows + o.rows, s.inline + o.inline, s.payload + o.payload}
}

func (s size) minus(o size) size {
	return size{s.rows - o.rows, s.inline - o.inline, s.payload - o.payload}
}

// fits reports whether one commit can hold it.
func (s size) fits() bool {
	return s.rows <= maxRows && s.inline <= maxInline && s.payload <= maxPayload
}

func newOverlay(below Reader) *overlay { return &overlay{layer: layer{below: below}} }

func (o *overlay) Set(key, value []byte) error {
	if len(value) > maxValue {
		return o.fail(fmt.Errorf("%w: value of %d bytes", ErrTooBig, len(value)))
	}
	// Never nil: a value of no bytes is a value.
	return o.put(&row{key: bytes.Clone(key), value: append([]byte{}, value...)})
}

func (o *overlay) Delete(key []byte) error {
	return o.put(&row{key: bytes.Clone(key), gone: true})
}

func (o *overlay) put(r *row) error {
	switch {
	case len(r.key) > maxKey:
		return o.fail(fmt.Errorf("%w: key of %d bytes", ErrTooBig, len(r.key)))
	case len(r.key) == 0:
		return o.fail(fmt.Errorf("%w: empty", ErrKey))
	case isReserved(r.key):
		return o.fail(fmt.Errorf("%w: %q is reserved", ErrKey, r.key))
	}
	return o.insert(r)
}

// insert takes reserved keys too.
func (o *overlay) insert(r *row) error {
	i, replaces := o.written.find(r.key)
	next := o.size.plus(sizeOf(r))
	if replaces {
		next = next.minus(sizeOf(o.written[i]))
	}
	if !next.fits() {
		return o.fail(fmt.Errorf("%w: %d rows, %d bytes", ErrTooBig, next.rows, next.payload))
	}
	o.size = next
	if replaces {
		o.written[i] = r
		return nil
	}
	o.written = slices.Insert(o.written, i, r)
	return nil
}

// deletes reports whether something is deleted.
func (o *overlay) deletes() bool {
	return slices.ContainsFunc(o.written, func(r *row) bool { return r.gone })
}

// fail remembers the first error: a transaction of which a part could not be
// written must not be committed, even by an f that did not look.
func (o *overlay) fail(err error) error {
	if o.err == nil {
		o.err = err
	}
	return err
}

// run calls f on the overlay and says what became of it. A panic of f is an
// error like any other: it must not take the other Updates with it.
func (o *overlay) run(f func(Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p, stack: debug.Stack()}
		}
	}()
	if err := f(o); err != nil {
		return err
	}
	return o.err
}

// panicError says that an f panicked.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("update panicked: %v", e.value) }

// Unwrap gives the panic's value if it was an error.
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

package knownkey

import (
	"encoding/binary"
	"slices"
	"sync"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// A scalar has 256 digits, most of them zero: a non-adjacent form. One way of multiplying is to
// double 256 times, and to add a multiple of the point whenever a digit is not zero. Here
// four lanes of 64 digits are walked side by side, the second with multiples of 2^64 times
// the point and so on, so 64 doublings are enough. That and not having to make the
// multiples is all that is gained (docs/adr/0020-known-keys.md).
const (
	laneCount = 4
	laneSize  = 256 / laneCount
	// Of width w one digit in w+1 is not zero, and a lane has 2^(w−2) multiples.
	keyWidth  = 5
	baseWidth = 8
)

// lanes are the odd multiples 1, 3, 5 … of P, 2^64 P, 2^128 P and 2^192 P.
type lanes [laneCount][]multiple

// multiple is a point in the form that is added most cheaply: (y+x, y−x, 2dxy).
type multiple struct{ plus, minus, xy2d field.Element }

// term is a scalar times a point.
type term struct {
	scalar *edwards25519.Scalar
	point  lanes
	width  uint
}

// base are the multiples of the generator, 30 KiB, made when first needed.
var base = sync.OnceValue(func() lanes { return lanesOf(edwards25519.NewGeneratorPoint(), baseWidth) })

func lanesOf(p *edwards25519.Point, width uint) (l lanes) {
	n := 1 << (width - 2)
	points := make([]edwards25519.Point, 0, laneCount*n)
	p = new(edwards25519.Point).Set(p)
	for range l {
		points = append(points, oddMultiples(p, n)...)
		for range laneSize {
			p.Double(p)
		}
	}
	all := affine(points)
	for i := range l {
		l[i] = all[i*n : (i+1)*n]
	}
	return l
}

// oddMultiples are 1, 3, 5 … times p.
func oddMultiples(p *edwards25519.Point, n int) []edwards25519.Point {
	twice := new(edwards25519.Point).Double(p)
	all := make([]edwards25519.Point, n)
	all[0].Set(p)
	for i := range n - 1 {
		all[i+1].Add(&all[i], twice)
	}
	return all
}

// twiceD is 2d of the curve −x² + y² = 1 + dx²y².
var twiceD = sync.OnceValue(func() *field.Element {
	// d = −121665/121666 (RFC 8032 §5.1)
	n := new(field.Element).Mult32(new(field.Element).One(), 121665)
	m := new(field.Element).Mult32(new(field.Element).One(), 121666)
	d := n.Multiply(n.Negate(n), m.Invert(m))
	return d.Add(d, d)
})

// affine makes the third coordinate of all points one, with one inversion for all of them.
func affine(points []edwards25519.Point) []multiple {
	all := make([]multiple, len(points))
	product := new(field.Element).One()
	for i := range points {
		_, _, z, _ := points[i].ExtendedCoordinates()
		all[i].xy2d.Set(product) // of those before it
		product.Multiply(product, z)
	}
	inverse := product.Invert(product)
	for i := range slices.Backward(points) {
		x, y, z, _ := points[i].ExtendedCoordinates()
		one := new(field.Element).Multiply(inverse, &all[i].xy2d)
		inverse.Multiply(inverse, z)
		all[i].set(x.Multiply(x, one), y.Multiply(y, one))
	}
	return all
}

func (m *multiple) set(x, y *field.Element) {
	m.plus.Add(y, x)
	m.minus.Subtract(y, x)
	m.xy2d.Multiply(x, y)
	m.xy2d.Multiply(&m.xy2d, twiceD())
}

// sum is the encoding of the sum of two terms.
func sum(a, b term) [32]byte {
	aDigits, bDigits := digits(a.scalar, a.width), digits(b.scalar, b.width)
	var r running
	r.zero()
	for i := laneSize - 1; i >= 0; i-- {
		r.double()
		for lane := range laneCount {
			r.addDigit(aDigits[lane*laneSize+i], a.point[lane])
			r.addDigit(bDigits[lane*laneSize+i], b.point[lane])
		}
	}
	return r.encode()
}

// digits is the non-adjacent form of width w, the lowest digit first: odd digits between
// −2^(w−1) and 2^(w−1), with w−1 zeros behind each.
func digits(s *edwards25519.Scalar, w uint) (all [256]int8) {
	var words [5]uint64
	for i, b := 0, s.Bytes(); i < 4; i++ {
		words[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	carry := uint64(0)
	for at := uint(0); at < 256; {
		bits := words[at/64] >> (at % 64)
		if at%64 > 64-w {
			bits |= words[at/64+1] << (64 - at%64)
		}
		window := carry + bits&(1<<w-1)
		if window&1 == 0 {
			at++ // the carry stays: either it is zero, or it met a one and is still to be added
			continue
		}
		carry = window >> (w - 1)
		all[at] = int8(int(window) - int(carry<<w))
		at += w
	}
	return all
}

package knownkey

import "filippo.io/edwards25519/field"

// running is a sum on its way: the point x = X/Z, y = Y/T, which is what the formulas of
// doubling and adding come to (Hisil, Wong, Carter, Dawson 2008, §3 with a = −1). They
// hold for all points of the curve, equal ones and the neutral one included.
type running struct{ X, Y, Z, T field.Element }

func (r *running) zero() {
	r.X.Zero()
	r.Y.One()
	r.Z.One()
	r.T.One()
}

// double replaces r with twice r.
func (r *running) double() {
	var x, y, z, xx, yy, zz2, xy field.Element
	x.Multiply(&r.X, &r.T)
	y.Multiply(&r.Y, &r.Z)
	z.Multiply(&r.Z, &r.T)

	xx.Square(&x)
	yy.Square(&y)
	zz2.Square(&z)
	zz2.Add(&zz2, &zz2)
	xy.Add(&x, &y)
	xy.Square(&xy)
	r.Y.Add(&yy, &xx)
	r.Z.Subtract(&yy, &xx)
	r.X.Subtract(&xy, &r.Y)
	r.T.Subtract(&zz2, &r.Z)
}

// addDigit adds a multiple of a point whose odd multiples are given; digits are odd or zero.
func (r *running) addDigit(digit int8, odd []multiple) {
	switch {
	case digit > 0:
		m := &odd[digit/2]
		r.add(&m.plus, &m.minus, &m.xy2d, false)
	case digit < 0:
		m := &odd[-digit/2]
		r.add(&m.minus, &m.plus, &m.xy2d, true)
	}
}

// add adds (y+x, y−x, 2dxy). For the negated point the first two change places, and the
// third its sign.
func (r *running) add(plus, minus, xy2d *field.Element, negated bool) {
	var x, y, z2, xy, pp, mm field.Element
	x.Multiply(&r.X, &r.T)
	y.Multiply(&r.Y, &r.Z)
	z2.Multiply(&r.Z, &r.T)
	xy.Multiply(&r.X, &r.Y)

	z2.Add(&z2, &z2)
	xy.Multiply(&xy, xy2d)
	pp.Add(&y, &x)
	pp.Multiply(&pp, plus)
	mm.Subtract(&y, &x)
	mm.Multiply(&mm, minus)
	r.X.Subtract(&pp, &mm)
	r.Y.Add(&pp, &mm)
	if negated {
		r.Z.Subtract(&z2, &xy)
		r.T.Add(&z2, &xy)
	} else {
		r.Z.Add(&z2, &xy)
		r.T.Subtract(&z2, &xy)
	}
}

// encode is RFC 8032 §5.1.2.
func (r *running) encode() (b [32]byte) {
	// X/Z and Y/T with one inversion.
	var inverse, x, y field.Element
	inverse.Multiply(&r.Z, &r.T)
	inverse.Invert(&inverse)
	x.Multiply(&r.X, &r.T)
	x.Multiply(&x, &inverse)
	y.Multiply(&r.Y, &r.Z)
	y.Multiply(&y, &inverse)
	copy(b[:], y.Bytes())
	b[31] |= byte(x.IsNegative()) << 7
	return b
}

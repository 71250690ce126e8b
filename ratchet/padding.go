package ratchet

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// firstClasses are the padded sizes below the regular ones. 1,088 rather than
// 1,024 leaves room for a description beside a body of 1 KiB.
var firstClasses = [...]int{256, 512, 1088, 2048, 4096}

// nextClass is the padded size after a size of 4,096 or more: one eighth of the
// greatest power of two not above it is added, so that padding costs at most
// about 12 %.
func nextClass(size int) int { return size + 1<<(bits.Len(uint(size))-1)/8 }

// PaddedSize is the length to which a plaintext of n bytes is padded, 0 when it
// is too long (session.md §4.3).
func PaddedSize(n int) int {
	if n < 0 || n > MaxPlaintext {
		return 0
	}
	return classFor(n + paddingHeader)
}

// classFor is the smallest class of at least n bytes.
func classFor(n int) int {
	for _, c := range firstClasses {
		if n <= c {
			return c
		}
	}
	c := firstClasses[len(firstClasses)-1]
	for c < n {
		c = nextClass(c)
	}
	return c
}

// padInto writes the length of p, p and zeros over dst, which must be of p's
// class and zero.
func padInto(dst, p []byte) {
	binary.BigEndian.PutUint32(dst, uint32(len(p)))
	copy(dst[paddingHeader:], p)
}

// unpad takes the plaintext out of b. It refuses every padding but the one that
// padInto writes, so that padding carries no hidden channel.
func unpad(b []byte) ([]byte, error) {
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-paddingHeader) || PaddedSize(int(n)) != len(b) {
		return nil, fmt.Errorf("%w: %d bytes padded to %d", ErrMalformed, n, len(b))
	}
	p, rest := b[paddingHeader:paddingHeader+n], b[paddingHeader+n:]
	for _, z := range rest {
		if z != 0 {
			return nil, fmt.Errorf("%w: padding is not zero", ErrMalformed)
		}
	}
	return p[:n:n], nil
}

package agent

import (
	"bytes"

	"amesh/identity"
	"amesh/internal/store"
)

// sealedKinds are the rows that hold session or prekey secrets. They are sealed under
// the state key, inside the transaction that writes them.
var sealedKinds = []byte{rowSession, rowPrekeys, rowOneTime}

// SealedPrefixes are the prefixes of all rows of a store that are sealed under the
// state key: those of every agent that left something there, whether its key is still
// in the home or not.
func SealedPrefixes(r store.Reader) ([][]byte, error) {
	var prefixes [][]byte
	for from := []byte(nil); ; {
		var amid []byte
		err := r.Scan(nil, from, func(k, _ []byte) bool {
			if len(k) > identity.AMIDSize {
				amid = bytes.Clone(k[:identity.AMIDSize])
			}
			return amid == nil
		})
		if err != nil || amid == nil {
			return prefixes, err
		}
		for _, kind := range sealedKinds {
			prefixes = append(prefixes, append(amid[:len(amid):len(amid)], kind))
		}
		// No kind of row is that high, so the next key is the next agent's.
		from = append(amid[:len(amid):len(amid)], 0xff)
	}
}

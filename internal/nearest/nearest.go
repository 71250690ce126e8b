// Package nearest finds the word that somebody probably meant.
package nearest

import "strings"

// far is the number of edits from which on two words have nothing to do with each other.
const far = 3

// Word is the one of the known words that is nearest to word, or begins with it. It is
// empty if none is near.
func Word(word string, known []string) string {
	best, distance := "", far
	for _, k := range known {
		if d := edits(word, k); d < distance || len(word) > 2 && best == "" && strings.HasPrefix(k, word) {
			best, distance = k, d
		}
	}
	return best
}

// edits is the number of letters to insert, delete, replace or swap with the
// next to make b of a.
func edits(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, last, row := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(s); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(t)]
}

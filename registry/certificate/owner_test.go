package certificate

import (
	"strings"
	"testing"
	"time"
)

func TestOwnerIsAWordForSomebody(t *testing.T) {
	a := testIssuer(t)
	b := NewIssuer(testKey(t, 2), &dice{}, time.Now)
	word := must(a.Owner("account github 42"))(t)
	if again := must(a.Owner("account github 42"))(t); again != word {
		t.Errorf("%s, then %s", word, again)
	}
	for name, other := range map[string]string{
		"somebody else": must(a.Owner("account github 43"))(t), "another registry": must(b.Owner("account github 42"))(t),
	} {
		if other == word {
			t.Errorf("%s has the same word", name)
		}
	}
	if len(word) != 32 || strings.Contains(word, "github") {
		t.Error(word)
	}
}

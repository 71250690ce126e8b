package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers by which a receiver knows that a push is ours, and once.
const (
	HeaderID        = "X-AMTP-Delivery-ID" // the same for every try of one message to one agent
	HeaderTimestamp = "X-AMTP-Timestamp"   // of this try, in Unix seconds
	HeaderSignature = "X-AMTP-Signature"   // v1= and the HMAC in hex; several are separated by commas
)

// Tolerance is how far a timestamp may be from a receiver's clock.
const Tolerance = 300 * time.Second

// ErrUnverified reports a push that is not signed as it must be, or not now.
var ErrUnverified = errors.New("the push is not verified")

const scheme = "v1="

// Sign returns what HeaderSignature says: HMAC-SHA256, by the agent's key, over the
// delivery's id, a dot, the time in Unix seconds, a dot, and the body as sent.
func Sign(key []byte, id string, at time.Time, body []byte) string {
	return scheme + hex.EncodeToString(sum(key, id, strconv.FormatInt(at.Unix(), 10), body))
}

// Verify is what a receiver does with a push: it checks the signature over the body as
// received, and that its time is within Tolerance of now. It returns ErrUnverified. A
// receiver also remembers ids, and takes each once.
func Verify(key []byte, h http.Header, body []byte, now time.Time) error {
	id, at := h.Get(HeaderID), h.Get(HeaderTimestamp)
	seconds, ok := unixSeconds(at)
	if id == "" || !ok {
		return fmt.Errorf("%w: %s or %s is missing or malformed", ErrUnverified, HeaderID, HeaderTimestamp)
	}
	if tolerance := int64(Tolerance / time.Second); seconds < now.Unix()-tolerance || seconds > now.Unix()+tolerance {
		return fmt.Errorf("%w: it is of another time", ErrUnverified)
	}
	want := []byte(scheme + hex.EncodeToString(sum(key, id, at, body)))
	for value := range strings.SplitSeq(h.Get(HeaderSignature), ",") {
		if hmac.Equal([]byte(strings.TrimSpace(value)), want) {
			return nil
		}
	}
	return fmt.Errorf("%w: no signature fits", ErrUnverified)
}

// unixSeconds reads a timestamp: up to twelve digits, no zero in front.
func unixSeconds(text string) (int64, bool) {
	if text == "" || len(text) > 12 || text[0] == '0' || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

func sum(key []byte, id, at string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

package gateway

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"amesh/gateway/amtp"
)

// pageOf reads which part of a list is wanted: usual is how many where nobody says, most how
// many may be asked for.
func pageOf(v url.Values, usual, most int) (limit, offset int, err error) {
	limit = usual
	if t := v.Get("limit"); t != "" {
		if limit, err = strconv.Atoi(t); err != nil || limit < 1 || limit > most {
			return 0, 0, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidLimit, "Limit must be between 1 and %d", most)
		}
	}
	if t := v.Get("offset"); t != "" {
		if offset, err = strconv.Atoi(t); err != nil || offset < 0 {
			return 0, 0, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidOffset, "Offset must be non-negative")
		}
	}
	return limit, offset, nil
}

// sinceOf reads from when on; zero if nobody says.
func sinceOf(v url.Values) (time.Time, error) {
	t := v.Get("since")
	if t == "" {
		return time.Time{}, nil
	}
	since, err := time.Parse(time.RFC3339, t)
	if err != nil {
		return time.Time{}, amtp.Errorf(http.StatusBadRequest, amtp.CodeInvalidSinceFormat, "Since parameter must be in RFC3339 format")
	}
	return since, nil
}

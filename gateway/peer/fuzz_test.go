package peer

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/answer"
)

// Whatever a gateway answers, every verdict is one that can be written down.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "", []byte(`{"message_id":"x","status":"delivered","recipients":[{"address":"a@b.test","status":"delivered"}]}`), true)
	f.Add(400, "", []byte(`{"status":"failed","recipients":[{"address":"a@b.test","status":"failed","error_code":"DELIVERY_FAILED","error_message":"x"}]}`), false)
	f.Add(403, "", []byte(`{"error":{"code":"SIGNATURE_REJECTED","message":"\u0000\n"}}`), true)
	f.Add(429, "Fri, 20 Nov 2099 09:00:30 GMT", []byte(`{"error":"slow"}`), false)
	f.Add(503, "99999999999999999999", []byte(`[[[[`), false)
	f.Add(400, "-1", []byte(`{"recipients":[{"address":1}],"error":{"code":[]}}`), false)
	f.Add(299, "", []byte(`{"recipients":null}`), false)
	f.Fuzz(func(t *testing.T, status int, retryAfter string, body []byte, signed bool) {
		status = 100 + (status%900+900)%900
		resp := &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}}, Body: io.NopCloser(bytes.NewReader(body))}
		v, each := read(resp, time.Unix(1763629200, 0), signed)
		all := []*verdict{v}
		for _, one := range each {
			all = append(all, one)
		}
		for _, v := range all {
			bad := v.state == amtp.Failed || v.state == amtp.Retrying
			if !bad && v.state != amtp.Delivered && v.state != amtp.Delivering {
				t.Errorf("state %q", v.state)
			}
			if bad != (v.code != "") || bad != (v.text != "") || v.text != answer.Clean(v.text) || v.status != status {
				t.Errorf("%+v", v)
			}
			if v.retryAfter < 0 || v.retryAfter > answer.MaxWait || v.retryAfter > 0 && v.state != amtp.Retrying {
				t.Errorf("%s: wait %v", v.state, v.retryAfter)
			}
		}
	})
}

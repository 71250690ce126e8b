package amtp_test

import (
	"bytes"
	"testing"

	"amesh/gateway/amtp"
)

func TestSealedIsDocumentAndHash(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"sender":"ann@a.test","recipients":["bob@a.test"]}`,
		`{"sender":"ann@a.test","recipients":["bob@a.test"],"workflow_id":"w","x":1,"signature":{"keyid":"k"},"payload":{ "a" : 1 },` +
			`"subject":"s","schema":"agntcy:a.b.v1","headers":{"h":"1"},"response_type":"r","in_reply_to":"01890000-0000-7000-8000-000000000000"}`,
	} {
		m, err := amtp.Parse([]byte(body), amtp.Rules{})
		if err != nil {
			t.Fatal(err)
		}
		if document, hash := m.Sealed(); !bytes.Equal(document, m.Document()) || hash != m.Hash() {
			t.Errorf("%s: sealed as %s, %x", body, document, hash)
		}
	}
}

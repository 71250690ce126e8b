package amtp_test

import (
	"strings"
	"testing"
	"time"

	"amesh/gateway/amtp"
)

// now is a fixed moment for what messages lack.
var now = time.Date(2026, 11, 20, 9, 0, 0, 123456789, time.UTC)

const full = `{"version":"1.0","message_id":"0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01","idempotency_key":"6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0aa",` +
	`"timestamp":"2026-11-20T09:00:00Z","sender":"buyer@North.test","recipients":["orders@south.test","orders@SOUTH.test."],"subject":"PO 77",` +
	`"schema":"agntcy:commerce.order.v2","headers":{"priority":"high"},"payload":{ "sku": "W-1 <x>", "qty" : 3},` +
	`"attachments":[{"filename":"po.pdf","content_type":"application/pdf","size":2048,"hash":"sha256:9f86d0","url":"https://files.north.test/po77"}],` +
	`"workflow_id":"","zzz":[1, 2],"signature":{"algorithm":"ES256","keyid":"k1","value":"AAAA"}}`

func TestDocumentIsTheMessageWithoutRecipients(t *testing.T) {
	t.Parallel()
	m, err := amtp.Parse([]byte(full), amtp.Rules{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"version":"1.0","message_id":"0192f0c1-7a10-7c3e-9d55-2b8f6f0a1e01","idempotency_key":"6c0a1c52-6c7e-4a54-8d59-51c2b1a7f0aa",` +
		`"timestamp":"2026-11-20T09:00:00Z","sender":"buyer@north.test","subject":"PO 77",` +
		`"schema":"agntcy:commerce.order.v2","headers":{"priority":"high"},"payload":{"sku":"W-1 <x>","qty":3},` +
		`"attachments":[{"filename":"po.pdf","content_type":"application/pdf","size":2048,"hash":"sha256:9f86d0","url":"https://files.north.test/po77"}],` +
		`"signature":{"algorithm":"ES256","keyid":"k1","value":"AAAA"},"zzz":[1,2]}`
	if got := string(m.Document()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if len(m.Recipients) != 1 || m.Recipients[0].String() != "orders@south.test" {
		t.Errorf("recipients %v, want one", m.Recipients)
	}
	const whole = `{"version":"1.0","recipients":["a@b"],"message_id":`
	if got := string(amtp.Assemble(m.Document(), []string{"a@b"})); got[:len(whole)] != whole {
		t.Errorf("got %s", got)
	}
}

// BenchmarkParse reads and stores a message of 1 KiB, which must take 15 µs at most.
func BenchmarkParse(b *testing.B) {
	body := []byte(strings.Replace(full, "W-1 <x>", strings.Repeat("W-1 <x>", 50), 1))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		m, err := amtp.Parse(body, amtp.Rules{Now: now})
		if err != nil {
			b.Fatal(err)
		}
		m.Document()
	}
}

package peer

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"amesh/gateway/amtp"
	"amesh/gateway/discovery"
)

// exchange is one Send: the requests to a gateway, one after the other.
type exchange struct {
	*Sender
	domain    string
	caps      discovery.Capabilities
	signs     bool
	done      map[string]Result
	exhausted bool // the gateway takes no more for now
}

// parcel is one request's worth of a message.
type parcel struct {
	document   []byte
	recipients []string
	own        bool // under an id of its own, for its only recipient
}

// parcels lays out which recipients go in one request.
func (x *exchange) parcels(m Outgoing) []parcel {
	var all []parcel
	if !x.signs {
		for group := range slices.Chunk(m.Recipients, x.cfg.Limits.Group) {
			all = append(all, parcel{document: m.Document, recipients: group})
		}
		return all
	}
	first := m.First
	if first == "" && len(m.Recipients) > 0 {
		first = m.Recipients[0]
	}
	for _, r := range m.Recipients {
		own := r != first && !x.caps.Has(FeaturePerRecipient)
		all = append(all, parcel{document: m.Document, recipients: []string{r}, own: own})
	}
	return all
}

func (x *exchange) results(recipients []string) []Result {
	all := make([]Result, len(recipients))
	for i, r := range recipients {
		all[i] = x.done[r]
	}
	return all
}

// post sends one parcel and writes down what came of it.
func (x *exchange) post(ctx context.Context, p parcel) {
	if x.exhausted || ctx.Err() != nil {
		x.settle(p.recipients, interrupted(), 0)
		return
	}
	start := time.Now()
	v, each := x.try(ctx, p)
	took := time.Since(start)
	x.exhausted = v.exhausted()
	if v.status == http.StatusConflict && v.code == amtp.CodeMessageIDConflict && !p.own {
		// Whoever has had the message knows its id, and may have used it there before us.
		for _, r := range p.recipients {
			x.post(ctx, parcel{document: p.document, recipients: []string{r}, own: true})
		}
		return
	}
	if each == nil {
		x.settle(p.recipients, v, took)
		return
	}
	var unnamed []string
	for _, r := range p.recipients {
		if one := each[strings.ToLower(r)]; one != nil {
			x.settle([]string{r}, one, took)
		} else {
			unnamed = append(unnamed, r)
		}
	}
	if p.own { // it speaks of others whatever we ask: its status has to do
		x.settle(unnamed, v, took)
		return
	}
	for _, r := range unnamed {
		x.post(ctx, parcel{document: p.document, recipients: []string{r}, own: true})
	}
}

func (x *exchange) settle(recipients []string, v *verdict, took time.Duration) {
	for _, r := range recipients {
		x.done[r] = v.result(r, took)
	}
}

// try makes one request and reads its answer.
func (x *exchange) try(ctx context.Context, p parcel) (*verdict, map[string]*verdict) {
	body, bad := x.body(p)
	if bad != nil {
		return bad, nil
	}
	limited, cancel := context.WithTimeout(ctx, x.cfg.Limits.Timeout)
	defer cancel()
	req, bad := x.request(limited, body)
	if bad != nil {
		return bad, nil
	}
	resp, err := x.cfg.Client.Do(req)
	if err != nil {
		x.cfg.Log.Debug("no answer from a gateway", "domain", x.domain, "err", err)
		return unanswered(ctx, err), nil
	}
	return read(resp, time.Now(), x.signs)
}

// body makes the message as it goes out, and checks that the gateway takes so much.
func (x *exchange) body(p parcel) ([]byte, *verdict) {
	var body []byte
	var err error
	if p.own {
		body, err = amtp.OutboundOne(p.document, p.recipients[0])
	} else {
		body, err = amtp.Outbound(p.document, p.recipients)
	}
	if err == nil && x.signs {
		body, err = x.cfg.Signer.Sign(body)
	}
	if err != nil {
		x.cfg.Log.Error("a message cannot be written for a gateway", "domain", x.domain, "err", err)
		return nil, later(0, amtp.CodePayloadPrepareFailed, "the message could not be prepared for the gateway")
	}
	if limit := x.caps.SizeLimit(); int64(len(body)) > limit {
		return nil, final(0, amtp.CodeMessageTooLarge, fmt.Sprintf("the message has %d bytes, the domain's gateway takes %d", len(body), limit))
	}
	return body, nil
}

func (x *exchange) request(ctx context.Context, body []byte) (*http.Request, *verdict) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.caps.Gateway+"/v1/messages", bytes.NewReader(body))
	if err != nil {
		return nil, final(0, amtp.CodeRequestCreationFailed, "the gateway in the domain's record is no usable URL")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", x.cfg.UserAgent)
	req.Header.Set("X-AMTP-Version", amtp.Version)
	if x.cfg.Credentials == nil {
		return req, nil
	}
	token, err := x.cfg.Credentials.Token(ctx, x.domain, x.caps.Auth)
	if err != nil {
		x.cfg.Log.Warn("no token for a gateway", "domain", x.domain, "err", err)
		return nil, later(0, amtp.CodeAuthenticationFailed, "no token for the domain's gateway could be had")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req, nil
}

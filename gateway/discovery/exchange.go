package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// exchange asks one resolver one question: by UDP, and by TCP where the answer does not
// fit. Datagrams that are no answer to it are ignored: anybody can send them.
func exchange(ctx context.Context, server, owner string) (*dns.Msg, error) {
	q := new(dns.Msg)
	q.SetQuestion(owner, dns.TypeTXT)
	q.SetEdns0(udpSize, false)
	msg, err := once(ctx, "udp", server, q)
	if err == nil && msg.Truncated {
		msg, err = once(ctx, "tcp", server, q)
	}
	switch {
	case err != nil:
		return nil, err
	case msg.Truncated:
		return nil, errCut
	case msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("the resolver says %s", dns.RcodeToString[msg.Rcode])
	}
	return msg, nil
}

// once sends the question and waits for its answer, as long as the context lasts.
func once(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c := &dns.Conn{Conn: nc, UDPSize: maxAnswer + 1}
	if err := c.WriteMsg(q); err != nil {
		return nil, told(ctx, err)
	}
	for {
		packed, err := c.ReadMsgHeader(nil)
		if errors.Is(err, dns.ErrShortRead) && network == "udp" {
			continue
		}
		if err != nil {
			return nil, told(ctx, err)
		}
		msg := new(dns.Msg)
		switch {
		case len(packed) > maxAnswer:
			err = errLong
		case msg.Unpack(packed) != nil || !answers(msg, q):
			err = errOther
		default:
			return msg, nil
		}
		if network == "tcp" { // there is nobody else at the other end
			return nil, err
		}
	}
}

func answers(m, q *dns.Msg) bool {
	return m.Id == q.Id && m.Response && m.Opcode == dns.OpcodeQuery && len(m.Question) == 1 &&
		strings.EqualFold(m.Question[0].Name, q.Question[0].Name) && m.Question[0].Qtype == dns.TypeTXT && m.Question[0].Qclass == dns.ClassINET
}

// told says "too slow" instead of what the closed connection says.
func told(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

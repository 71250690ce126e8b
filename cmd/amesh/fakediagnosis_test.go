package main

import (
	"context"

	"amesh/node/api"
)

// looked is the part of the small node that says how things are. Answers of why come
// one after the other; the last one stays.
type looked struct {
	why   []api.Why
	tries int

	pings  []func(api.PingRequest) (api.Ping, error) // one after the other; the last one stays
	pinged []api.PingRequest

	net    api.Netcheck
	netErr error
	netted []api.NetcheckRequest

	report    api.Bugreport
	reportErr error
	reported  []api.BugreportRequest

	doctor    api.Doctor
	doctorErr error
}

func (l *looked) next() (api.Why, error) {
	if len(l.why) == 0 {
		return api.Why{}, api.Problemf(404, api.CodeNotFound, "nobody goes by that name")
	}
	w := l.why[0]
	if len(l.why) > 1 {
		l.why = l.why[1:]
	}
	return w, nil
}

func (l *looked) Why(context.Context, string, string) (api.Why, error) { return l.next() }

func (l *looked) TryDirect(context.Context, string, string) (api.Why, error) {
	l.tries++
	return l.next()
}

func (l *looked) Doctor(context.Context) (api.Doctor, error) { return l.doctor, l.doctorErr }

func (l *looked) Ping(_ context.Context, _, _ string, r api.PingRequest) (api.Ping, error) {
	l.pinged = append(l.pinged, r)
	answer := l.pings[0]
	if len(l.pings) > 1 {
		l.pings = l.pings[1:]
	}
	return answer(r)
}

func (l *looked) Netcheck(_ context.Context, r api.NetcheckRequest) (api.Netcheck, error) {
	l.netted = append(l.netted, r)
	return l.net, l.netErr
}

func (l *looked) Bugreport(_ context.Context, r api.BugreportRequest) (api.Bugreport, error) {
	l.reported = append(l.reported, r)
	return l.report, l.reportErr
}

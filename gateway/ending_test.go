package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"amesh/gateway/amtp"
	"amesh/gateway/gatewaytest"
)

// Promise row 11: who waits for a reply when the gateway stops is answered with what is known.
func TestStoppingAnswersWhoWaits(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	ann, bob := g.Register("ann"), g.Register("bob")
	got := make(chan gatewaytest.Answer, 1)
	go func() { got <- ann.Post(message(bob.Address), "Prefer", "wait=25") }()
	bob.Arrived() // so it waits by now, or is about to
	g.Stop()
	if res := result(t, (<-got).Want(http.StatusOK)); res.Status != amtp.Delivered || res.Reply != nil {
		t.Errorf("got %+v", res)
	}
}

// Promise row 11: what is being delivered when the gateway stops is written down first.
func TestStoppingFinishesDeliveries(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-release
	}))
	defer hook.Close()
	g := gatewaytest.Start(t, "a.test").At("a.test")
	ann := g.Register("ann")
	bob := g.Register("bob", "delivery_mode", "push", "push_target", hook.URL)
	id := ann.Send(bob.Address, `1`).MessageID
	<-begun
	stopped := make(chan struct{})
	go func() { g.Stop(); close(stopped) }()
	<-g.Closed()
	close(release)
	<-stopped
	g.Start()
	if st := ann.Status(id); st.Status != amtp.Delivered || st.Attempts != 1 {
		t.Errorf("got %+v", st)
	}
}

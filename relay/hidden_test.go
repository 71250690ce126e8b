package relay

import "testing"

// An agent that asks to be hidden is somebody who is not here, for all but its mail.
func TestHiddenAgentsAreNotSeen(t *testing.T) {
	h, _ := startRelay(t, Limits{})
	shy := newAgent(t, ClientConfig{URL: h.url(), Key: testKey(t, 2), Limits: quick(), Hidden: true})
	shy.run()
	if s := shy.connected(); !s.Speaks(ExtensionHidden) {
		t.Errorf("state: %+v", s)
	}
	h.until("it is registered", func(s *Server) bool { return s.find(testKey(t, 2).AMID()) != nil })
	alice, _ := h.join(1)
	who, nobody := testKey(t, 2).AMID().String(), testKey(t, 3).AMID().String()
	for _, name := range []string{who, nobody} {
		alice.write(presenceQueryFrame{Type: typePresenceQuery, AMID: name})
		got := alice.want(object{"type": typePresenceReply, "amid": name, "status": statusOffline})
		if _, has := got["last_seen"]; has {
			t.Errorf("seen: %v", got)
		}
		alice.writeText(`{"type":"ice_offer","to":"` + name + `","sdp":"v=0","candidates":[]}`)
		alice.want(object{"type": typeError, "code": CodeRecipientOffline})
	}
	alice.send(testKey(t, 2).AMID(), "hello", "")
	if d := shy.receive(); string(d.Payload) != "hello" {
		t.Errorf("delivered %+v", d)
	}
}

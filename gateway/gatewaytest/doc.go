// Package gatewaytest starts gateways for tests: in this process, on loopback, with
// databases that go with the test, and with records in place of DNS that let them find
// each other. A test speaks to them as the world does, by HTTP.
//
//	n := gatewaytest.Start(t, "a.test", "b.test")
//	bob := n.At("b.test").Register("bob")
//	alice := n.At("a.test").Register("alice")
//	sent := alice.Send(bob.Address, `{"n":1}`)
//	alice.Settled(sent.MessageID)
//	bob.Inbox() // has it
package gatewaytest

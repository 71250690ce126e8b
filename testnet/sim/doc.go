// Package sim is a small mesh inside one test: mailrooms of node/agent on stores
// that can crash, a relay and direct paths between them, users who submit, decide,
// lease and acknowledge, and a clock that passes days in milliseconds. It is for
// tests only and never linked into the binary.
//
// A World lives in a bubble of testing/synctest. One goroutine, the caller's, lets
// events happen one by one, and lets everything come to rest in between; so that a
// run is decided by its seed and by the points at which it is told to crash.
//
// Every commit, every envelope that leaves and every acknowledgement is a numbered
// point, before and after. A test that crashes a run at its first point, then at its
// second, until a run has none left, has seen every crash there is (CP 1 to 8, 18 to
// 23, 26).
//
// Everything that becomes durable, leaves a process or is told to a user is an Event.
// Check reads the events of a run and says which promise of docs/protocol/session.md
// §8 and §9 was broken; it knows nothing of how the run was made. The files: world.go is
// time and events, person.go a user with a node that can die, disk.go its store, undo.go
// states that are lost or come back, net.go the relay and the paths, find.go what a node
// asks the mesh, user.go what users do; rows.go and wiretap.go turn what is stored and
// sent into events, history.go, check.go, check_out.go and check_in.go judge them.
package sim

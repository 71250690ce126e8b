package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"amesh/node/api"
)

// Facts is what a running node knows of itself.
type Facts struct {
	Status    api.Status
	Keys      []api.Keys // of every agent
	LAN       bool       // the owner wants neighbours
	DHT       bool       // there are DHT servers to reach
	Container bool
	// Certificates are the ends of what proves our agents' tiers, by agent.
	Certificates map[string]time.Time
	// Others are what the node noticed that no other check is about, a sentence each.
	Others []string
}

// Node judges what a node says of itself.
func Node(f Facts, now time.Time) []api.Check {
	s := f.Status
	list := relays(s.Relays)
	list = append(list, directory(f)...)
	list = append(list, registries(s.Registries)...)
	list = append(list, certificates(f.Certificates, now)...)
	for _, k := range f.Keys {
		list = append(list, bundle(k, now))
	}
	for _, a := range s.Agents {
		list = append(list, oneTime(a), rollback(a, now))
	}
	list = append(list, lan(f), Addresses(s.Listen, f.Container), queue(s), knocks(s))
	for _, text := range f.Others {
		list = append(list, fail("trouble", "amesh status shows more; the node's log says since when", "%s", text))
	}
	return list
}

func relays(all []api.Relay) []api.Check {
	if len(all) == 0 {
		return []api.Check{warn("relay", "name one: amesh up --relay URL", "none: messages reach only agents that can be connected to directly")}
	}
	var list []api.Check
	for _, r := range all {
		list = append(list, relay(r))
	}
	return list
}

func relay(r api.Relay) api.Check {
	switch {
	case r.State == "refused":
		return fail("relay", "ask its operator, or name another relay", "%s is not used: %s", r.URL, r.Error)
	case r.Role == "home" && r.State != "connected":
		return fail("relay", "amesh netcheck shows whether it is this network", "%s is not connected%s", r.URL, because(r.Error))
	case r.Role == "draining":
		return warn("relay", "name another with --relay", "%s is about to go", r.URL)
	case r.State == "connected" && r.LatencyMS >= float64(relaySlow.Milliseconds()):
		return warn("relay", "name one that is nearer", "%s takes %.0f ms for a round trip", r.URL, r.LatencyMS)
	case r.State == "connected" && r.Trust == "legacy":
		return warn("relay", "name one of amesh instead", "%s is connected, and sets no challenge: what is signed for it could be used elsewhere", r.URL)
	}
	text := r.URL + " is " + r.State + ", " + r.Role
	if r.Via == "longpoll" {
		text += ", by plain HTTP requests because no WebSocket gets through"
	}
	if r.Proxy != "" {
		text += ", through " + r.Proxy
	}
	if r.LatencyMS > 0 {
		text += fmt.Sprintf(", %.4g ms", r.LatencyMS)
	}
	return ok("relay", "%s", text)
}

func because(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

func directory(f Facts) []api.Check {
	switch d := f.Status.DHT; {
	case !f.DHT:
		return []api.Check{skip("dht", "no DHT server was named: agents are found through registries, invites and the local network")}
	case d.Peers == 0:
		return []api.Check{fail("dht", "see that UDP and TCP port 47777 of the servers can be reached: amesh netcheck",
			"no DHT server can be reached: agents that are not known cannot be found")}
	case !d.Published:
		return []api.Check{ok("dht", "%s", count(d.Peers, "server")),
			fail("record", "it is tried again by itself; look again in a minute", "the agent's record is not in the DHT: strangers cannot find it")}
	default:
		return []api.Check{ok("dht", "%s", count(d.Peers, "server")), ok("record", "read back from another server")}
	}
}

func registries(all []api.Registry) []api.Check {
	var list []api.Check
	for _, r := range all {
		switch {
		case r.State == "failing":
			list = append(list, fail("registry", "it is tried again by itself; everything else goes on", "%s does not work%s", r.URL, because(r.Error)))
		case r.State == "refused":
			list = append(list, fail("registry", "ask its operator, or leave it out", "%s is not used%s", r.URL, because(r.Error)))
		case len(r.Warnings) > 0:
			w := r.Warnings[len(r.Warnings)-1]
			list = append(list, warn("registry", "use another; nothing that it said so was believed", "%s: %s", r.URL, w.Text))
		default:
			list = append(list, ok("registry", "%s is %s, %s registered", r.URL, r.State, count(r.Registered, "agent")))
		}
	}
	return list
}

func certificates(ends map[string]time.Time, now time.Time) []api.Check {
	var list []api.Check
	for _, agent := range slices.Sorted(maps.Keys(ends)) {
		end := ends[agent]
		const next = "prove it again at the registry: docs/operations/registry-proof.md"
		day := end.UTC().Format(time.DateOnly)
		switch left := end.Sub(now); {
		case left <= 0:
			list = append(list, fail("certificate", next, "what proves the tier of %s ended on %s", agent, day))
		case left < certificateSoon:
			list = append(list, warn("certificate", next, "what proves the tier of %s ends on %s", agent, day))
		default:
			list = append(list, ok("certificate", "what proves the tier of %s holds until %s", agent, day))
		}
	}
	return list
}

func bundle(k api.Keys, now time.Time) api.Check {
	switch left := k.Expires.Sub(now); {
	case k.Revoked != nil:
		return fail("bundle", "go on as another agent: amesh up --home elsewhere", "the key of %s was revoked (%s): it neither sends nor receives", k.Agent, k.Revoked.Reason)
	case left <= 0:
		return fail("bundle", "amesh key rotate", "the public keys of %s have expired", k.Agent)
	case left < bundleSoon:
		return warn("bundle", "amesh key rotate", "the public keys of %s expire in %s, and were not renewed", k.Agent, left.Round(time.Minute))
	}
	return ok("bundle", "the public keys of %s hold until %s", k.Agent, k.Expires.UTC().Format(time.DateOnly))
}

func oneTime(a api.Agent) api.Check {
	switch k := a.OneTime; {
	case k == nil:
		return skip("one_time_keys", "not told")
	case k.X25519 == 0 || k.KEM == 0:
		return warn("one_time_keys", "new ones are made by themselves; look again in a minute",
			"%s has none left of one kind: who knocks meanwhile uses a key that lives longer", a.Name)
	default:
		return ok("one_time_keys", "%s has %d and %d", a.Name, k.X25519, k.KEM)
	}
}

func rollback(a api.Agent, now time.Time) api.Check {
	if a.RolledBack == nil || now.Sub(*a.RolledBack) > rollbackShown {
		return ok("rollback", "no state of %s was put back, epoch %d", a.Name, a.Epoch)
	}
	return fail("rollback", "run one copy of a home only, and move it with amesh backup and restore",
		"the state of %s was put back, or a copy of this home ran elsewhere, as was noticed at %s: every session was replaced",
		a.Name, a.RolledBack.UTC().Format(time.RFC3339))
}

func lan(f Facts) api.Check {
	if !f.LAN {
		return skip("lan", "neighbours are not looked for")
	}
	return ok("lan", "%s met in the local network", count(len(f.Status.LAN), "agent"))
}

func queue(s api.Status) api.Check {
	var stuck []string
	for _, p := range s.Peers {
		if p.Waiting > 0 && p.Path == api.PathNone {
			stuck = append(stuck, p.AMID.String())
		}
	}
	if len(stuck) > 0 {
		return warn("queue", "amesh why "+stuck[0], "%s not delivered yet; no path to %s", count(s.Queued, "message"), strings.Join(stuck[:min(len(stuck), 3)], ", "))
	}
	return ok("queue", "%s not delivered yet, %d not read", count(s.Queued, "message"), s.Unread)
}

func knocks(s api.Status) api.Check {
	if s.Knocks == 0 {
		return ok("knocks", "nobody waits for you")
	}
	c := ok("knocks", "%d wait for you", s.Knocks)
	c.Next = "amesh knocks"
	return c
}

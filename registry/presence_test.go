package registry

import (
	"testing"
	"time"

	"amesh/registry/db/dbtest"
	"amesh/registry/wire"
)

func TestPresence(t *testing.T)             { dbtest.SQLite(t, presenceCases) }
func TestWithPostgresPresence(t *testing.T) { dbtest.Postgres(t, presenceCases) }

var presenceCases = dbtest.Cases{
	"a status is shown until it is old":   testStatus,
	"capabilities are replaced":           testCapabilities,
	"changes of an agent that is unknown": testUnknownAgent,
	"all agents are counted":              testStats,
}

func testStatus(t *testing.T, url string) {
	h := start(t, url)
	key := testKey(t, 1)
	amid := key.AMID().String()
	h.register(key, byTimestamp)
	shown := func(want wire.Status) {
		t.Helper()
		h.get("/v1/registry/lookup?amid=" + amid).want(200).has(object{"status": want})
	}
	for _, status := range []wire.Status{wire.StatusOnline, wire.StatusAway, wire.StatusDND, wire.StatusOffline, wire.StatusOnline} {
		h.post("/v1/registry/status", key, byTimestamp, object{"amid": amid, "status": status}).want(200).has(object{"success": true})
		shown(status)
	}
	h.post("/v1/registry/status", key, byTimestamp, object{"amid": amid, "status": "asleep"}).want(400).code(wire.CodeInvalid)
	h.clock.pass(23 * time.Hour)
	shown(wire.StatusOnline)
	h.clock.pass(2 * time.Hour)
	shown(wire.StatusOffline)
	h.post("/v1/registry/status", key, strictly, object{"amid": amid, "status": "online"}).want(200)
	h.get("/v1/registry/lookup?amid=" + amid).want(200).has(object{"status": "online", "last_seen": wire.Time{Time: h.clock.now()}})
}

func testCapabilities(t *testing.T, url string) {
	h := start(t, url)
	key := testKey(t, 1)
	amid := key.AMID().String()
	h.register(key, strictly)
	for _, list := range [][]string{{"travel", "chat"}, {}, {"weather"}} {
		h.post("/v1/registry/capabilities", key, strictly, object{"amid": amid, "capabilities": list}).want(200)
		h.get("/v1/registry/lookup?amid=" + amid).want(200).has(object{"capabilities": list})
	}
	h.post("/v1/registry/capabilities", key, strictly, object{"amid": amid, "capabilities": []string{""}}).want(400)
}

func testUnknownAgent(t *testing.T, url string) {
	h := start(t, url)
	for n, how := range map[byte]signing{1: strictly, 2: byTimestamp} {
		key := testKey(t, n)
		amid := key.AMID().String()
		h.post("/v1/registry/status", key, how, object{"amid": amid, "status": "online"}).want(404).has(object{"error": "Agent not found"})
		h.post("/v1/registry/capabilities", key, how, object{"amid": amid, "capabilities": []string{}}).want(404)
	}
}

func testStats(t *testing.T, url string) {
	h := start(t, url)
	h.get("/v1/registry/stats").want(200).has(object{
		"total_agents": 0, "online_agents": 0, "by_tier": object{}, "by_status": object{}, "average_reputation": 0})
	for n := range byte(3) {
		h.register(testKey(t, n), strictly)
	}
	h.post("/v1/registry/status", testKey(t, 0), strictly, object{"amid": testKey(t, 0).AMID().String(), "status": "online"}).want(200)
	h.clock.pass(time.Minute)
	h.get("/v1/registry/stats").want(200).has(object{"total_agents": 3, "online_agents": 1,
		"by_tier": object{"anonymous": 3}, "by_status": object{"offline": 2, "online": 1}, "average_reputation": 0.5})
	h.get("/v1/health").want(200).has(object{"status": "healthy", "version": "agentmesh/0.2", "agents_registered": 3, "agents_online": 1})
	h.get("/health").want(200).has(object{"status": "ok"})
	h.clock.pass(25 * time.Hour)
	h.get("/v1/health").want(200).has(object{"agents_online": 0})
}

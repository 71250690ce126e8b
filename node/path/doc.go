// Package path decides how envelopes travel to one peer: over a connection between the
// two nodes when there is one that was proven, and by relay as long as there is none. It
// is a machine that hears what happens and says what to do. It has no clock, no network
// and no goroutine; node does what it says.
//
//	                    the rungs, each tried when the one before failed
//	┌──────┐ need,  ┌──────────┐  failed  ┌──────────┐  failed  ┌──────────┐
//	│ Idle ├───────►│ Dialling ├─────────►│ Punching ├─────────►│ Circling │
//	└──────┘ tick   └────┬─────┘          └────┬─────┘          └────┬─────┘
//	  ▲  ▲  all failed   │                     │                     │
//	  │  └───────────────┼─────────────────────┼─────────────────────┘
//	  │                  │ up: an echo came back over a connection
//	  │                  ▼                     ▼
//	  │ down     ┌────────────────┐  ┌─────────────────────┐  in time  ┌─────────┐
//	  ├──────────┤ Open: carries  │  │ Holding: it died    ├──────────►│ Proving │
//	  │          │                │  │ too often to carry  │           │         │
//	  │          └────────────────┘  └──────────┬──────────┘           └──┬───┬──┘
//	  │                  ▲                      │ down                    │   │
//	  └──────────────────┼──────────────────────┴─────────────────────────┘   │
//	                     └──────────────────── an echo came back ─────────────┘
//
// In every state but Open, mail goes by relay. What is under way when a path dies goes
// by relay too, as the same bytes: who gets an envelope twice keeps the first.
//
// The table. A cell is what is done, a dot is nothing. "climb" starts the first rung that
// may be tried now, and ends in Idle when there is none. "carry" is Open, or Holding for
// a path that died too often lately. "prove" asks for an echo before it carries, "echo"
// while it does. "fall" remembers a death and climbs. "answer" punches as the peer offers,
// and dials beside that; "beside" dials beside what is under way.
//
//	         │ Idle    Dialling Punching Circling Holding Proving Open
//	─────────┼─────────────────────────────────────────────────────────
//	Need     │ climb   ·        ·        ·        ·       ·       ·
//	Want     │ climb   ·        ·        ·        ·       ·       ·
//	Ask      │ climb   ·        ·        ·        ·       ·       ·
//	Told     │ climb   ·        beside   beside   ·       ·       ·
//	Moved    │ climb   climb    climb    climb    prove   prove   echo
//	Tick     │ climb   ·        beside   beside   prove   ·       ·
//	Offered  │ answer  answer   answer   answer   echo    ·       prove
//	Failed   │ ·       climb    climb    climb    ·       fall    ·
//	Up       │ carry   carry    carry    carry    ·       open    ·
//	Down     │ ·       ·        ·        ·        fall    fall    fall
//
// A peer that offers to punch while we hold a connection believes that it is gone, so
// mail goes by relay until the connection has brought an echo, or is given up.
//
// Punching begins when the traffic calls for it (Want) and not for a single exchange.
// Each rung has its back-off (limits.go); after three punches in vain it rests until
// the network changes, the peer tells new places, the owner asks, or the rest is over.
// Nothing is tried by itself for a peer with whom there was no traffic for ten minutes.
package path

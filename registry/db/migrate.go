package db

import "embed"

// migrations are plain SQL that both databases understand. Their numbers belong to
// subjects, tens to each, so a lower one may come later: 1 to 9 agents and their keys,
// 10 to 19 search, 20 to 29 trust, 30 to 39 who is behind an agent, and from 40 what came later. One that was in a
// release is never changed.
//
//go:embed migrations/*.sql
var migrations embed.FS

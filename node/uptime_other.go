//go:build !linux

package node

import "time"

func uptime() time.Duration { return sinceStart() }

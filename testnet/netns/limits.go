package netns

import "time"

const (
	// bits of the public prefix: half of it is one network, the other half is given to
	// open boxes in blocks.
	leastBits, mostBits = 16, 24
	blockBits           = 29
	// bits of the IPv6 prefix, of which each network gets a /64.
	leastBits6, mostBits6 = 32, 48
	linkBits6             = 64
	// mostBoxes is bound by the third number of 192.168.N.0/24.
	mostBoxes = 254
	// hostsPerBox fit into the block of an open box.
	hostsPerBox = 5

	// patience bounds one call of ip, and the wait for a process to be ready.
	patience = 20 * time.Second
	// readyEvery is how often it is looked whether a process is ready.
	readyEvery = 20 * time.Millisecond
	// grace is how long a process has to end.
	grace = 10 * time.Second
	// certificateLife is how long the servers' certificates are good.
	certificateLife = 30 * 24 * time.Hour
)

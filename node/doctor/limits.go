package doctor

import "time"

const (
	// diskFail is less than what a store keeps free; diskWarn is what a busy week takes.
	diskFail = 64 << 20
	diskWarn = 1 << 30
	// clockWarn and clockFail are how far the clock may be from those of servers. What
	// is signed is refused by relays from 5 minutes on.
	clockWarn = 30 * time.Second
	clockFail = 4 * time.Minute
	// clockAnswer bounds the question for a server's time, clockAsked how many are asked.
	clockAnswer = 5 * time.Second
	clockAsked  = 8
	// backupFirst is the age of an identity from which on a backup is missed, and
	// backupAge that of a backup from which on another one is.
	backupFirst = 7 * 24 * time.Hour
	backupAge   = 30 * 24 * time.Hour
	// filesFail and filesWarn are numbers of files that may be open. A node needs about
	// a hundred for itself, and one for each connection.
	filesFail = 256
	filesWarn = 1024
	// udpBuffer is what QUIC asks the system for, in bytes. With less, packets are lost
	// in bursts and large messages take longer.
	udpBuffer = 7_500_000
	// bundleSoon is how long before its end an agent's bundle should have been renewed,
	// certificateSoon the same for what proves its tier.
	bundleSoon      = 24 * time.Hour
	certificateSoon = 14 * 24 * time.Hour
	// rollbackShown is how long a state that was put back is spoken of.
	rollbackShown = 72 * time.Hour
	// relaySlow is a round trip to a relay that is felt.
	relaySlow = time.Second
)

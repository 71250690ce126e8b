package natbox

import "time"

const (
	// ProxyPort is where the proxy of an HTTPProxy box listens, on all addresses.
	ProxyPort = 3128
	// proxiedPort is the only port that it connects to.
	proxiedPort = "443"
	// proxyConns is the most connections that it carries at a time.
	proxyConns = 512
	// proxyPatience bounds a request's header, and the dial that it asks for.
	proxyPatience = 10 * time.Second

	// MaxDelay is the longest delay of one direction.
	MaxDelay = 10 * time.Second
	// heldFrames is how many frames wait in one direction; like a router's queue, a full one
	// drops what comes.
	heldFrames = 8192
	// maxFrame is the longest frame, in bytes.
	maxFrame = 65550

	// lossSteps is in how many steps the kernel draws: 0.01 %.
	lossSteps = 10_000

	// maxControlPath leaves room in the 107 bytes of a unix socket's path.
	maxControlPath = 100
	// maxControlLine is the longest question or answer at the control socket, in bytes.
	maxControlLine = 4 << 10
	// controlPatience bounds one question and its answer.
	controlPatience = 10 * time.Second
)

package store

import "time"

// What one transaction may hold. Both implementations enforce the same numbers,
// so that nothing which passes on Memory is refused by the disk.
const (
	// maxKey is the longest key in bytes.
	maxKey = 512
	// maxValue is the largest value in bytes.
	maxValue = 2 << 20
	// maxRows bounds the rows of one commit. Badger refuses a transaction of
	// 6,553 entries at our memtable size.
	maxRows = 6000
	// maxInline bounds the bytes that one commit puts into Badger's memtable,
	// where a value of inlineValue bytes or more counts as a pointer only. Badger
	// refuses 629,145.
	maxInline = 512 << 10
	// maxPayload bounds the bytes of all values that one Update sets.
	maxPayload = 16 << 20
	// rowOverhead is what a row costs beside its key and value.
	rowOverhead = 32
)

// How the disk is used. The options of Badger itself stand in badgerOptions.
const (
	// memtableSize is Badger's memtable, and half a write-ahead log.
	memtableSize = 4 << 20
	// valueLogSize is the size of a value log file.
	valueLogSize = 16 << 20
	// inlineValue is the size from which a value goes to Badger's value log.
	inlineValue = 1 << 10
	// groupPayload ends a group: big values gain nothing from a shared sync, and
	// everybody in the group would wait for them.
	groupPayload = 4 << 20
	// queueLength is how many Updates wait without blocking their senders.
	queueLength = 256
	// defaultReserve is the free space below which writes are refused. Badger
	// writes through memory maps of sparse files: on a full disk it is not given
	// an error, the process is killed by SIGBUS. The reserve covers two
	// write-ahead logs, a value log file being rewritten and a compaction.
	defaultReserve = 64 << 20
	// leanPayload is how much an Update that deletes something may still write
	// when the reserve is reached, so that a full mailbox can be emptied.
	leanPayload = 4 << 10
	// leanShare is the part of the reserve, one in so many, that is never used:
	// of the default that is closeSpace.
	leanShare = 4
	// openSpace is the free space that Open asks for, unless the reserve is
	// smaller: a write-ahead log and a value log file, and the tables that
	// replayed logs and a compaction become.
	openSpace = 2*memtableSize + 2*valueLogSize + 2*memtableSize
	// closeSpace is the free space with which Badger is closed, unless the reserve
	// is smaller: the memtable, and those that wait, become tables.
	closeSpace = 4 * memtableSize
	// closeWait is how long Close waits for Badger, which tries for ever to write
	// a memtable that cannot be written.
	closeWait = 10 * time.Second
	// collectEvery is the pause between two looks for garbage in the value log.
	collectEvery = 2 * time.Minute
	// collectRatio is the part of a value log file that must be garbage before it
	// is rewritten.
	collectRatio = 0.5
	// squeezeLogs is how many value log files are filled before Badger is made to
	// look for garbage in them.
	squeezeLogs = 4
	// squeezeBytes is what fills the two memtables that start a compaction.
	squeezeBytes = 2 * memtableSize
	// coarseClock is the longest step of a file system's time stamps: a folder
	// changed more recently than this may have changed again unseen.
	coarseClock = 50 * time.Millisecond
)

// How the state key is changed.
const (
	// keyLife is the age at which a key is changed: for that long, and for the
	// change, a stolen disk can give back what was deleted.
	keyLife = 24 * time.Hour
	// changeRows and changeBytes bound what one Update seals again, because
	// everybody else's Updates wait for it; a last row may go over changeBytes.
	changeRows  = 256
	changeBytes = 1 << 20
)

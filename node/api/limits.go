package api

import "time"

// MaxBody is the largest body of a message in bytes, before base64.
const MaxBody = 1 << 20

// How long and how much a client takes from a node.
const (
	// answerIn is how long a node may take for an answer that waits for nothing.
	answerIn = 30 * time.Second
	// waitSlack is added when the node was asked to wait, so that the node's own
	// answer to a wait in vain comes before the client gives up.
	waitSlack = 10 * time.Second
	// backupIn is how long a node may take for a backup.
	backupIn = 10 * time.Minute
	// lookIn is how long a node may take to look around: it asks servers, and waits for
	// those that do not answer.
	lookIn = time.Minute
	// maxAnswer bounds an answer in bytes: 100 leased messages of full size in
	// base64 fit.
	maxAnswer = 160 << 20
	// maxNodeFile bounds node.json in bytes.
	maxNodeFile = 64 << 10
)

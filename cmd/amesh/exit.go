package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"amesh/identity"
	"amesh/internal/sqldb"
	"amesh/internal/store"
	"amesh/knock"
	"amesh/node"
	"amesh/node/api"
	"amesh/node/backup"
	"amesh/node/httpapi"
	"amesh/registry"
	"amesh/registry/db"
	"amesh/relay/admin"
	"amesh/relay/ban"
	"amesh/relay/mailbox"
)

// The exit codes. They are an interface: scripts depend on them.
const (
	exitOK           = 0
	exitFailed       = 1
	exitUsage        = 2
	exitDaemon       = 3
	exitNotFound     = 4
	exitRefused      = 5
	exitTimeout      = 6
	exitUnauthorized = 7
	exitUndelivered  = 8
	exitConflict     = 9
	exitDegraded     = 10
	exitStorage      = 11
	exitInterrupted  = 130
)

// failure is an error as it is shown: to people, to programs and as an exit code.
type failure struct {
	exit    int
	code    string // for programs
	message string
	hint    string // the next step
	rule    string // the rule that refused
	usage   string // how the verb is used, after a usage error
	data    any    // what --json shows beside the error
	shown   bool   // standard output has said it already
}

func (f *failure) Error() string { return f.message }

// usagef reports something that was typed wrong.
func usagef(format string, args ...any) *failure {
	return &failure{exit: exitUsage, code: "usage", message: fmt.Sprintf(format, args...)}
}

func (f *failure) next(format string, args ...any) *failure {
	f.hint = fmt.Sprintf(format, args...)
	return f
}

// exits says how the problems of the local API end. A code that is not here ends
// in exitFailed.
var exits = map[api.Code]int{
	api.CodeInvalid:      exitUsage,
	api.CodeTooLarge:     exitUsage,
	api.CodeUnreachable:  exitDaemon,
	api.CodeNotFound:     exitNotFound,
	api.CodeNoSession:    exitNotFound,
	api.CodeNoAnswer:     exitTimeout,
	api.CodePolicy:       exitRefused,
	api.CodeUnauthorized: exitUnauthorized,
	api.CodeForbidden:    exitUnauthorized,
	api.CodeHost:         exitUnauthorized,
	api.CodeOrigin:       exitUnauthorized,
	api.CodeConflict:     exitConflict,
	api.CodeNameTaken:    exitConflict,
	api.CodeNameLike:     exitConflict,
	api.CodeExpired:      exitNotFound,
	api.CodeRevoked:      exitRefused,
	api.CodeStorage:      exitStorage,
	api.CodeBusy:         exitFailed,
	api.CodeInternal:     exitFailed,
}

const (
	permissionsHint = "chmod 600 that file; if somebody else may have read it, do not use the key any more"
	diskHint        = "look at the disk and the system's log before starting again"
	roomHint        = "make room on the disk"
	portHint        = "give another port, or 0 for a free one"
	stateKeyHint    = "put state.key back from where the state is from; if it is lost, move state/ away and start anew: its mail and sessions are lost, the agent is not"
	registryKeyHint = "put the key file of this database back from a backup, or name it with --key; if it is lost, move the database away too and start with an empty one"
)

// causes says how the errors of our own packages end; the first that is in the
// error counts, so the narrow ones stand above the wide ones.
var causes = []struct {
	err  error
	exit int
	code string
	hint string
}{
	{context.Canceled, exitInterrupted, "interrupted", ""},
	{context.DeadlineExceeded, exitTimeout, "timeout", ""},
	{node.ErrHomeInUse, exitConflict, "home_in_use", "use that one (amesh status), or stop it, or give another --home"},
	{node.ErrSDKIdentity, exitConflict, "sdk_identity", "amesh agent import takes it over, or give another --home"},
	{node.ErrIdentityTwice, exitConflict, "identity_twice", "move one of the two folders out of agents/"},
	{node.ErrEchoName, exitConflict, "echo_name", "start without --echo, or on another --home"},
	{node.ErrIdentityLost, exitStorage, "identity_lost", "put identity.json back from a backup, or move state/ away to start as somebody new"},
	{node.ErrStateKeyLost, exitStorage, "state_key_lost", stateKeyHint},
	{node.ErrBackupExists, exitConflict, "exists", "name a new file"},
	{node.ErrHomeNotEmpty, exitConflict, "home_in_use", "give a new --home"},
	{node.ErrRestoreUnfinished, exitStorage, "restore_unfinished", "run amesh restore again"},
	{node.ErrBackupKey, exitUnauthorized, "backup_key", "give the passphrase or the age key that it was made for"},
	{backup.ErrNewer, exitStorage, "backup_too_new", "use the newer amesh"},
	{backup.ErrFormat, exitFailed, "not_a_backup", "take another copy of the backup"},
	{backup.ErrDamaged, exitFailed, "backup_damaged", "take another copy of the backup"},
	{node.ErrNotLoopback, exitUsage, "not_loopback", "use 127.0.0.1; from another machine, come through a tunnel such as ssh -L"},
	{node.ErrSocketPath, exitUsage, "socket_path_too_long", "give a shorter --home, or set XDG_RUNTIME_DIR to a private folder with a short path"},
	{httpapi.ErrSocketInUse, exitConflict, "socket_in_use", "stop the process that listens there, or give another --home"},
	{httpapi.ErrSocketFolder, exitFailed, "socket_folder_open", "chmod 700 that folder"},
	{httpapi.ErrTokenFile, exitFailed, "token_file", "delete that file; the node then makes a new token"},
	{knock.ErrPolicy, exitFailed, "policy_invalid", "mend policy.json, or move it away: without it you are asked about every stranger"},
	{store.ErrLocked, exitConflict, "data_in_use", "stop the process that has it, or give another folder"},
	{store.ErrTooNew, exitStorage, "state_too_new", "use the newer amesh; nothing was changed"},
	{store.ErrSchema, exitStorage, "state_foreign", "give another folder; nothing was changed"},
	{store.ErrDamaged, exitStorage, "state_damaged", "restore the folder from where it was damaged, or move it away and start anew"},
	{store.ErrKeyFile, exitStorage, "state_key_damaged", stateKeyHint},
	{store.ErrSealed, exitStorage, "state_sealed", "state/ and state.key must be of the same moment; put both back from one copy"},
	{store.ErrNoSpace, exitStorage, "no_space", roomHint},
	{syscall.ENOSPC, exitStorage, "no_space", roomHint},
	{syscall.EDQUOT, exitStorage, "no_space", roomHint},
	{store.ErrPoisoned, exitStorage, "storage_failed", diskHint},
	{mailbox.ErrBroken, exitStorage, "storage_failed", diskHint},
	{db.ErrNewer, exitStorage, "state_too_new", "use the newer amesh; nothing was changed"},
	{db.ErrDamaged, exitStorage, "database_damaged", "put the database file back from a backup, or move it and its -wal away to start with an empty one; nothing was changed"},
	{registry.ErrRoot, exitStorage, "registry_key_other", registryKeyHint},
	{sqldb.ErrInUse, exitConflict, "data_in_use", "stop the process that has it, or give another --data or --database; several gateways share one PostgreSQL database"},
	{db.ErrURL, exitUsage, "database_url", "write it like postgres://USER@HOST/NAME or sqlite:///var/lib/amesh/registry.db"},
	{admin.ErrNoRelay, exitDaemon, "no_relay", "start it with amesh relay, or give the --data of the one that runs"},
	{admin.ErrRefused, exitFailed, "refused", "give it what it asks for; amesh help relay has examples"},
	{ban.ErrFile, exitFailed, "bans_unreadable", "mend bans.json, or move it away: without it nobody is banned"},
	{identity.ErrKeyPermissions, exitFailed, "key_permissions", permissionsHint},
	{store.ErrKeyPermissions, exitFailed, "key_permissions", permissionsHint},
	{identity.ErrKeyFile, exitFailed, "not_a_key_file", "put the file back from a backup; only a node.key may be deleted instead, which gives a new peer id"},
	{identity.ErrMismatch, exitFailed, "key_mismatch", "the file is damaged or made of several: take the original, or a backup"},
	{identity.ErrExists, exitConflict, "exists", "give another --name"},
	{identity.ErrAMID, exitUsage, "not_an_amid", "an AMID looks like 2wCNe4X9e…; the other side sees it with: amesh id"},
	{node.ErrAddrInUse, exitConflict, "address_in_use", portHint},
	{syscall.EADDRINUSE, exitConflict, "address_in_use", portHint},
	{syscall.EADDRNOTAVAIL, exitUsage, "address_not_here", "give an address of this machine, such as 127.0.0.1"},
	{syscall.ENOTDIR, exitUsage, "not_a_folder", "give another folder"},
	{fs.ErrNotExist, exitNotFound, "no_such_file", "look at the path: the file, or a folder on the way to it, is not there"},
	{syscall.EROFS, exitUnauthorized, "read_only", "name a place that can be written to"},
	{fs.ErrPermission, exitUnauthorized, "permission", "name a place that this user may use, or let it with chown or chmod"},
	{db.ErrFile, exitStorage, "database_file", "give another --data or --database, or look at the disk and the system's log"},
}

// explain finds out how an error is shown.
func explain(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if p, ok := errors.AsType[*api.Problem](err); ok {
		return explainProblem(err, p)
	}
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return &failure{exit: c.exit, code: c.code, message: err.Error(), hint: c.hint}
		}
	}
	return &failure{exit: exitFailed, code: "failed", message: err.Error()}
}

func explainProblem(err error, p *api.Problem) *failure {
	exit, known := exits[p.Code]
	if !known {
		exit = exitFailed
	}
	return &failure{exit: exit, code: string(p.Code), message: err.Error(), hint: p.Hint, rule: p.Rule}
}

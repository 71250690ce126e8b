package sqltest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// cluster is a PostgreSQL server on a socket in a folder of its own.
type cluster struct {
	dir   string
	life  io.Closer // the server stops when this closes, or when we die
	done  chan error
	admin *sql.DB

	mu    sync.Mutex
	count int
}

// template is the database that others are copies of.
const template = "tables"

// NewPostgres makes a new database with tables in the kit's cluster, which it starts if
// it does not run. The database is dropped when the test ends.
func (k *Kit) NewPostgres(t *testing.T) string {
	t.Helper()
	return k.createPostgres(t, template)
}

func (k *Kit) createPostgres(t *testing.T, from string) string {
	t.Helper()
	c, err := k.running()
	if err != nil {
		t.Fatalf("PostgreSQL: %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	name := "test" + strconv.Itoa(c.count)
	if _, err := c.admin.ExecContext(t.Context(), "CREATE DATABASE "+name+" TEMPLATE "+from); err != nil {
		t.Fatalf("PostgreSQL: %v", err)
	}
	t.Cleanup(func() {
		if _, err := c.admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("PostgreSQL: %v", err)
		}
	})
	return c.url(name)
}

// running is the running cluster with its template.
func (k *Kit) running() (*cluster, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cluster != nil {
		return k.cluster, nil
	}
	c, err := startCluster(unsynced)
	if err != nil {
		return nil, err
	}
	_, err = c.admin.ExecContext(context.Background(), "CREATE DATABASE "+template)
	if err == nil {
		err = k.migrate(c.url(template))
	}
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	k.cluster = c
	return c, nil
}

func (k *Kit) stopCluster() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cluster == nil {
		return nil
	}
	err := k.cluster.stop()
	k.cluster = nil
	return err
}

func (c *cluster) url(name string) string {
	return "postgres://postgres@/" + name + "?host=" + c.dir
}

func (c *cluster) stop() error {
	var all []error
	if c.admin != nil {
		all = append(all, c.admin.Close())
	}
	all = append(all, c.life.Close(), <-c.done, os.RemoveAll(c.dir))
	return errors.Join(all...)
}

// serve runs the server until its standard input ends, which it does with us.
const serve = `bin=$1 dir=$2; shift 2
"$bin/postgres" -D "$dir/data" -k "$dir" -c listen_addresses= -c logging_collector=off "$@" >"$dir/log" 2>&1 </dev/null &
cat >/dev/null; kill -INT $!; wait $!`

// unsynced are the settings of a server whose data need not survive it.
var unsynced = []string{"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"}

func startCluster(settings []string) (*cluster, error) {
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(programs) == 0 {
		return nil, errors.New("no /usr/lib/postgresql/*/bin: install postgresql")
	}
	dir, err := os.MkdirTemp("", "amesh-pg")
	if err != nil {
		return nil, err
	}
	c, err := startIn(dir, programs[len(programs)-1], settings)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return c, nil
}

func startIn(dir, bin string, settings []string) (*cluster, error) {
	if err := giveAway(dir); err != nil {
		return nil, err
	}
	initdb := command(filepath.Join(bin, "initdb"), "--no-sync", "--auth=trust", "--username=postgres",
		"--encoding=UTF8", "--locale=C", "-D", filepath.Join(dir, "data"))
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	server := command("/bin/sh", append([]string{"-c", serve, "sh", bin, dir}, settings...)...)
	server.Dir = dir
	life, err := server.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := server.Start(); err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, life: life, done: make(chan error, 1)}
	go func() { c.done <- server.Wait() }()
	if err := c.connect(); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// connect waits until the server answers. It says so nowhere but in its answers.
func (c *cluster) connect() error {
	var err error
	if c.admin, err = sql.Open("pgx", c.url("postgres")); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err = c.admin.Ping(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// command runs a program as the user postgres where we are root, whom PostgreSQL
// refuses.
func command(name string, args ...string) *exec.Cmd {
	if os.Getuid() == 0 {
		name, args = "runuser", append([]string{"-u", "postgres", "--", name}, args...)
	}
	return exec.Command(name, args...)
}

// giveAway lets the user postgres write to the folder.
func giveAway(dir string) error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	return os.Chown(dir, uid, -1)
}

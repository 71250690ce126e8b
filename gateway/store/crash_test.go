package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"amesh/gateway/amtp"
	"amesh/internal/sqldb/sqltest"
)

// victim names the database on which this program is to run until it is killed.
const victim = "AMESH_TEST_STORE"

var crashes = sqltest.Cases{
	"what was accepted when the process is killed is there": testKilled,
}

func TestKilled(t *testing.T)             { kit.SQLite(t, crashes) }
func TestWithPostgresKilled(t *testing.T) { kit.Postgres(t, crashes) }

// TestVictim is the process to be killed: it accepts messages and says which, until it
// dies. It leases jobs that it never finishes.
func TestVictim(t *testing.T) {
	url := os.Getenv(victim)
	if url == "" {
		t.Skip("it is started by TestKilled")
	}
	s, err := Open(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Run(context.Background(), Options{}) }()
	var mu sync.Mutex
	for i := range 8 {
		go func() {
			for n := 0; ; n++ {
				k := amtp.NewKey()
				r, err := s.Accept(context.Background(), newMessage(message(t, key(k), says(k)), pull("bob@b.test"), remote(fmt.Sprintf("cid@c%d.test", i))))
				if err != nil {
					panic(err)
				}
				mu.Lock()
				fmt.Printf("accepted %s %s\n", r.MessageID, k)
				mu.Unlock()
			}
		}()
	}
	for {
		if _, err := s.Lease(context.Background(), LeaseRequest{Now: time.Now(), Until: time.Now().Add(time.Hour), Limit: 1}); err != nil {
			panic(err)
		}
	}
}

// killed runs a victim until it has accepted n messages at least, and returns those that
// it said it had: ids by keys.
func killed(t *testing.T, url string, n int) map[string]string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$", "-test.v")
	cmd.Env = append(os.Environ(), victim+"="+url)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	accepted := map[string]string{}
	for in := bufio.NewScanner(out); in.Scan(); {
		if f := strings.Fields(in.Text()); len(f) == 3 && f[0] == "accepted" {
			accepted[f[2]] = f[1]
		}
		if len(accepted) == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if len(accepted) < n {
		t.Fatalf("the victim accepted %d messages", len(accepted))
	}
	return accepted
}

func testKilled(t *testing.T, url string) {
	accepted := killed(t, url, 300)
	s := running(t, url)
	if s.postgres { // Run does so every two seconds
		if err := s.freeDead(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for k, id := range accepted {
		r, err := s.Accept(t.Context(), newMessage(message(t, key(k), says(k)), pull("bob@b.test")))
		if err != nil || r.MessageID != id || !r.Repeated {
			t.Fatalf("T84: %s: %+v %v", id, r, err)
		}
		_, err = s.Accept(t.Context(), newMessage(message(t, key(k), says("other")), pull("bob@b.test")))
		if !errors.Is(err, ErrKeyConflict) {
			t.Fatalf("T84: %s with other content: %v", id, err)
		}
	}
	// Accepted = in the inbox = in the queue, for those too whose answer was not heard.
	st, err := s.List(t.Context(), Query{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	boxes, err := s.Inbox(t.Context(), "bob@b.test", Page{Limit: st.Total + 1})
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := s.Lease(t.Context(), LeaseRequest{Now: time.Now(), Until: time.Now().Add(time.Hour), Limit: st.Total + 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(boxes.Messages) != st.Total || len(jobs) != st.Total || st.Total < len(accepted) {
		t.Errorf("%d were confirmed, %d are there, %d in the inbox, %d due", len(accepted), st.Total, len(boxes.Messages), len(jobs))
	}
}

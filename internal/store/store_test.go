package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"amesh/internal/store"
	"amesh/internal/store/storetest"
)

// writerDir makes the test binary, run again by TestKilledProcess, a program that
// writes rows into this folder until it is killed.
const writerDir = "STORE_TEST_WRITER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeForEver(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func testOptions() store.Options {
	return store.Options{Schema: store.Schema{Name: "test", Version: 1}}
}

func TestDisk(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, t.TempDir()) })
}

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return store.NewMemory() })
}

func open(t testing.TB, dir string) store.Store {
	t.Helper()
	s, err := store.Open(dir, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(t testing.TB, s store.Store, key, value string) {
	t.Helper()
	err := s.Update(t.Context(), func(tx store.Tx) error { return tx.Set([]byte(key), []byte(value)) })
	if err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s store.Store, key string) string {
	t.Helper()
	var value []byte
	err := s.View(func(r store.Reader) (err error) {
		value, err = r.Get([]byte(key))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return "(absent)"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(value)
}

func TestReopenedStoreHasEverything(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		s := open(t, dir)
		set(t, s, fmt.Sprintf("k%d", i), "v")
		set(t, s, "last", fmt.Sprint(i))
		for j := range i + 1 {
			if got := get(t, s, fmt.Sprintf("k%d", j)); got != "v" {
				t.Errorf("round %d: k%d is %q", i, j, got)
			}
		}
		if got := get(t, s, "last"); got != fmt.Sprint(i) {
			t.Errorf("round %d: last is %q", i, got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// T42, as far as it is the store's: what was acknowledged is there after kill -9,
// and the folder opens. This cannot see a missing sync, the kernel keeps the pages.
func TestKilledProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	acked := map[string]bool{}
	for round := range 4 {
		for _, key := range killAfter(t, dir, 100+250*round) {
			acked[key] = true
		}
		s := open(t, dir)
		for key := range acked {
			if got, want := get(t, s, key), valueOf(key); got != want {
				t.Fatalf("round %d: acknowledged %s has %d bytes, want %d", round, key, len(got), len(want))
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acked) < 4*100 {
		t.Errorf("only %d rows acknowledged", len(acked))
	}
}

// killAfter runs a writer, kills it when it has acknowledged n rows and gives
// what it acknowledged.
func killAfter(t *testing.T, dir string, n int) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var keys []string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		keys = append(keys, lines.Text())
		if len(keys) == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(keys) < n {
		t.Fatalf("writer ended by itself after %d rows: %v", len(keys), err)
	}
	// The last line may have been cut by the kill; nobody was told of it.
	return keys[:n]
}

// writeForEver writes rows and prints each key when it is durable.
func writeForEver(dir string) error {
	s, err := store.Open(dir, testOptions())
	if err != nil {
		return err
	}
	failed := make(chan error)
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d.%d.%d", os.Getpid(), w, i)
				err := s.Update(context.Background(), func(tx store.Tx) error {
					return tx.Set([]byte(key), []byte(valueOf(key)))
				})
				if err != nil {
					failed <- err
				}
				fmt.Println(key)
			}
		}()
	}
	return <-failed
}

// valueOf has a size that depends on the key, on both sides of what Badger keeps
// in its value log.
func valueOf(key string) string {
	size := 17 * int(key[len(key)-1])
	if key[len(key)-1] == '7' {
		size = 30_000
	}
	return fmt.Sprintf("%*s", size, key)
}

func TestSecondOpen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	set(t, s, "k", "v")
	// T32
	if _, err := store.Open(dir, testOptions()); !errors.Is(err, store.ErrLocked) {
		t.Errorf("open while open: %v, want ErrLocked", err)
	}
	if got := get(t, s, "k"); got != "v" {
		t.Errorf("k is %q after the second open", got)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerDir+"="+dir)
	out, err := cmd.CombinedOutput()
	if want := "open store: " + store.ErrLocked.Error() + "\n"; err == nil || string(out) != want {
		t.Errorf("another process: %v, %q, want %q", err, out, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func benchmarkWriters(b *testing.B, writers int) {
	s := open(b, b.TempDir())
	value := make([]byte, 1<<10)
	jobs := make(chan int, writers)
	done := make(chan struct{})
	for range writers {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range jobs {
				err := s.Update(context.Background(), func(tx store.Tx) error {
					for row := range 3 {
						if err := tx.Set(fmt.Appendf(nil, "message/%09d/%d", i, row), value); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Error(err)
				}
			}
		}()
	}
	b.SetBytes(3 << 10)
	b.ResetTimer()
	for i := range b.N {
		jobs <- i
	}
	close(jobs)
	for range writers {
		<-done
	}
	b.StopTimer()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// The benchmarks write three rows of 1 KiB in each Update.
func BenchmarkUpdate1Writer(b *testing.B)   { benchmarkWriters(b, 1) }
func BenchmarkUpdate64Writers(b *testing.B) { benchmarkWriters(b, 64) }

package page

import (
	"context"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// witness notes what a browser complains about and whom it talks to.
type witness struct {
	mu         sync.Mutex
	complaints []string
	hosts      map[string]bool
}

func (w *witness) see(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		w.complaints = append(w.complaints, "console: "+string(e.Type))
	case *runtime.EventExceptionThrown:
		w.complaints = append(w.complaints, "exception: "+e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		w.complaints = append(w.complaints, "log: "+e.Entry.Text)
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(e.Request.URL)
		if err != nil {
			w.complaints = append(w.complaints, err.Error())
			return
		}
		w.hosts[u.Host] = true
	}
}

// browser starts Chromium for one test.
func browser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.UserDataDir(t.TempDir()), chromedp.DisableGPU)
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // the test's own ends before its cleanups
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	})
	return ctx
}

// screen is the width of a small phone in pixels.
const screen = 320

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

func run[T any](t *testing.T, ctx context.Context, a chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWithChromiumSearchAndOpenACard(t *testing.T) {
	if os.Getenv("AMESH_WITH_CHROMIUM") != "1" {
		t.Skip("needs Chromium; set AMESH_WITH_CHROMIUM=1")
	}
	srv := serve(t, &shelf{})
	ctx := browser(t)
	w := &witness{hosts: make(map[string]bool)}
	if err := chromedp.Listen(ctx, w.see); err != nil {
		t.Fatal(err)
	}
	// The narrowest phones, and dark.
	dark := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, dark); err != nil {
		t.Fatal(err)
	}
	width := chromedp.Evaluate[int](`document.documentElement.scrollWidth`)
	do(t, ctx, chromedp.EmulateViewport(screen, 640), chromedp.Navigate(srv.URL))
	if got, want := run(t, ctx, chromedp.Text("pre code")), "amesh up --registry "+srv.URL; got != want {
		t.Errorf("one joins with %q, want %q", got, want)
	}
	do(t, ctx, chromedp.SendKeys("#q", "flights\r"), chromedp.WaitVisible("ol.rows .name"))
	if got := run(t, ctx, width); got != screen {
		t.Errorf("the results are %d wide on a screen of %d", got, screen)
	}
	do(t, ctx, chromedp.Click("ol.rows .name"), chromedp.WaitVisible("article"))
	card := run(t, ctx, chromedp.Text("article"))
	if !strings.Contains(card, "amesh send did:agentmesh:"+ann) || !strings.Contains(card, "<script>alert(1)</script>") {
		t.Errorf("the card reads %q", card)
	}
	if got := run(t, ctx, width); got != screen {
		t.Errorf("the card is %d wide on a screen of %d", got, screen)
	}
	do(t, ctx, chromedp.Navigate(srv.URL+"/api"), chromedp.Click("details.operation summary"), chromedp.WaitVisible("details.operation table"))
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.complaints) > 0 {
		t.Errorf("the browser complains: %q", w.complaints)
	}
	delete(w.hosts, strings.TrimPrefix(srv.URL, "http://"))
	if len(w.hosts) > 0 {
		t.Errorf("the browser talked to %v", w.hosts)
	}
}

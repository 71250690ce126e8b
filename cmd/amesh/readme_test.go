package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// mark stands above the blocks of README.md that are pasted here.
const mark = "<!-- tested -->\n```sh\n"

// cleanUp ends what a block that failed has left running.
const cleanUp = "trap 'kill ${RELAY:-} ${ALICE:-} ${BOB:-} ${CAROL:-} ${GATEWAY:-} 2>/dev/null || true' EXIT\n"

// The README works when pasted: its blocks, one after the other, in one shell.
func TestReadmeWorksWhenPasted(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := tested(string(readme))
	if len(blocks) < 3 {
		t.Fatalf("README.md has %d blocks marked as tested", len(blocks))
	}
	file := filepath.Join(t.TempDir(), "readme.txtar")
	script := "exec sh -e readme.sh\nstdout 'exit code 8'\nstdout 'two, at 14:20'\nstdout 'sku.*W-1'\nstdout 'gateway exit code 8'\n-- readme.sh --\n" + cleanUp + strings.Join(blocks, "")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	runScripts(t, testscript.Params{Files: []string{file}})
}

func tested(readme string) []string {
	var blocks []string
	for {
		_, rest, found := strings.Cut(readme, mark)
		if !found {
			return blocks
		}
		var block string
		block, readme, _ = strings.Cut(rest, "```\n")
		blocks = append(blocks, block)
	}
}

// Every exit code that the program has is in the README's table, and the root's
// help has it too.
func TestExitCodesAreDocumented(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	help := (&app{}).root().Long
	for _, code := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"} {
		if !strings.Contains(string(readme), "\n| "+code+" | ") {
			t.Errorf("README.md: no exit code %s", code)
		}
		if !strings.Contains(help, " "+code+" ") && !strings.Contains(help, "\n"+code+" ") {
			t.Errorf("help: no exit code %s", code)
		}
	}
}

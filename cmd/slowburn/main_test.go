package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/script")

// TestMain lets the test binary stand in for slowburn, in scripts and for tests that start it as a process.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"slowburn": main})
}

func TestScripts(t *testing.T) {
	shop, err := filepath.Abs("../../fixtures/shop")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := filepath.Abs("../../bin")
	if err != nil {
		t.Fatal(err)
	}
	month := shopMonth(t)
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("SHOP", shop)
			env.Setenv("MONTH", month)
			// The pinned promtool comes before an older one that is installed, but after the program under test: bin may hold
			// a slowburn of another day.
			sep := string(os.PathListSeparator)
			own, installed, _ := strings.Cut(env.Getenv("PATH"), sep)
			env.Setenv("PATH", own+sep+bin+sep+installed)
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "promtool" {
				return haveProgram(t, filepath.Join(bin, "promtool"), "run make tools"), nil
			}
			return false, nil
		},
	})
}

// haveProgram tells whether a program is there. Where CI runs, a missing one fails the test.
func haveProgram(t *testing.T, path, remedy string) bool {
	t.Helper()
	if _, err := os.Stat(path); err == nil {
		return true
	}
	if os.Getenv("CI") == "true" {
		t.Errorf("%s is missing: %s", path, remedy)
	}
	return false
}

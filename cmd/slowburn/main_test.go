package main

import (
	"flag"
	"os"
	"path/filepath"
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
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH")) // before a promtool that is installed, and older
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

package contract

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// schema is a declaration as the shared cases write it: its own fields and no others.
type schema struct {
	File, Kind, Symbol, Window, Service, Error, Field string
	Line, Col                                         int
	SLOTarget, BurnRateThreshold                      *float64
	Tenant                                            *Tenant
	RecordingRules                                    []string
	Env                                               map[string]string
	Values                                            []any
}

// TestSharedCases runs every case of the folder that the project shares; each is a small tree with the list of
// declarations that a scan must find in it.
func TestSharedCases(t *testing.T) {
	root := filepath.Join("..", "..", "shared", "ts-cases")
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the shared cases are not beside the repository")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			t.Run(entry.Name(), func(t *testing.T) { runCase(t, filepath.Join(root, entry.Name())) })
		}
	}
}

func runCase(t *testing.T, dir string) {
	want, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Scan(t.Context(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	sameDeclarations(t, r.Declarations, want)
}

// sameDeclarations compares by the fields of the schema, after a trip through JSON.
func sameDeclarations(t *testing.T, got []Declaration, want []byte) {
	t.Helper()
	data, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var have, expected []schema
	if err := json.Unmarshal(data, &have); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(want, &expected); err != nil {
		t.Fatal(err)
	}
	if len(have) != len(expected) {
		t.Errorf("%d declarations, want %d:\n%s", len(have), len(expected), data)
		return
	}
	for i := range expected {
		if !reflect.DeepEqual(have[i], expected[i]) {
			a, _ := json.Marshal(have[i])
			b, _ := json.Marshal(expected[i])
			t.Errorf("declaration %d\n got %s\nwant %s\nfaults %+v", i, a, b, got[i].Faults)
		}
	}
}

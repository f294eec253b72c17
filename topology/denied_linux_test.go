package topology

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestInspectDenied(t *testing.T) {
	denied := listen(t).Addr().String()
	if err := os.Chmod(denied, 0); err != nil {
		t.Fatal(err)
	}
	var err error
	asNobody(t, func() { _, err = Inspect(context.Background(), "unix://"+denied) })
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "access denied: join the group docker") {
		t.Errorf("error %v", err)
	}
}

func TestScanDenied(t *testing.T) {
	dir := world(t, "-- compose.yaml --\nservices: {}\n")
	if err := os.Chmod(dir+"/compose.yaml", 0); err != nil {
		t.Fatal(err)
	}
	for up := dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	asNobody(t, func() {
		top, err := Scan(context.Background(), dir, Options{Env: map[string]string{}})
		if err != nil {
			t.Error(err)
			return
		}
		if got, want := lines(top.Findings), "error compose.yaml: Compose file may not be read: grant read permission (SB041)\n"; got != want {
			t.Errorf("got %swant %s", got, want)
		}
	})
}

// asNobody calls f without root's rights over files.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() { // ends after the one call; its thread, being locked, ends with it
		var err error
		if runtime.LockOSThread(); os.Geteuid() == 0 {
			err = syscall.Setfsuid(65534)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// fifo makes a named pipe that nobody writes to: opening it would hang.
func fifo(t *testing.T, name string) {
	t.Helper()
	if err := syscall.Mkfifo(name, 0o644); err != nil {
		t.Fatal(err)
	}
}

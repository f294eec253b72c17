package topology

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestInspectDenied takes the rights of nobody for one thread, since root may open any socket.
func TestInspectDenied(t *testing.T) {
	denied := listen(t).Addr().String()
	if err := os.Chmod(denied, 0); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error)
	go func() { // ends after the one call; its thread, being locked, ends with it
		if runtime.LockOSThread(); os.Geteuid() == 0 {
			if err := syscall.Setfsuid(65534); err != nil {
				failed <- err
				return
			}
		}
		_, err := Inspect(context.Background(), "unix://"+denied)
		failed <- err
	}()
	if err := <-failed; !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "access denied: join the group docker") {
		t.Errorf("error %v", err)
	}
}

// fifo makes a named pipe that nobody writes to: opening it would hang.
func fifo(t *testing.T, name string) {
	t.Helper()
	if err := syscall.Mkfifo(name, 0o644); err != nil {
		t.Fatal(err)
	}
}

package main

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// memoryWatch looks at what the process holds, again and again: the kernel keeps the peak of all, but not of its parts.
type memoryWatch struct {
	stop chan struct{}
	done chan float64
}

// watchMemory begins to look. The goroutine ends with peak.
func watchMemory() *memoryWatch {
	w := &memoryWatch{stop: make(chan struct{}), done: make(chan float64)}
	go func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		most := 0.0
		for {
			most = max(most, anonymous())
			select {
			case <-tick.C:
			case <-w.stop:
				w.done <- most
				return
			}
		}
	}()
	return w
}

// peak ends the watch: the most memory that the process has held, and the most that was its own and not pages of files,
// which the kernel takes back when it needs them. In megabytes; the latter is zero where there is no /proc.
func (w *memoryWatch) peak() (all, own float64) {
	close(w.stop)
	own = <-w.done
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, own
	}
	return float64(u.Maxrss) / 1024, own
}

// anonymous is what the process holds beside files, in megabytes.
func anonymous() float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if left, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(left), " kB"), 64)
			return kb / 1024
		}
	}
	return 0
}

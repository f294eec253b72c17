package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func clockFaults() []experiment {
	return []experiment{{
		id: "E52", fault: "the process's clock steps by an hour, forth, back and behind", trials: 5, short: 1, try: stepped,
		criterion: "95 % of the samples after each step stored, no alert begins or ends by it, a warning",
	}}
}

// clock is the wall clock of one process, which may be set apart from the machine's. Its monotonic clock goes on.
type clock struct {
	memory *os.File
	at     int64 // where the seconds stand that are added
}

// shifted is a clock_gettime for amd64: the system call, and then, for the wall clock, so many seconds more.
//
//	mov eax, 228; syscall; test edi, edi; jne +7; add qword [rsi], imm32; ret
const shifted = "\xb8\xe4\x00\x00\x00\x0f\x05\x85\xff\x75\x07\x48\x81\x06\x00\x00\x00\x00\xc3"

// clock takes over the clock of the process: it writes a function of its own over the one that the kernel maps into every
// process, in this one alone. That needs root.
func (m *watchman) clock(ctx context.Context) (*clock, error) {
	if runtime.GOARCH != "amd64" || runtime.GOOS != "linux" {
		return nil, skip("stepping the clock of one process is known for Linux on amd64 alone")
	}
	pid := m.cmd.Process.Pid
	from, to, err := mapped(pid, "[vdso]")
	if err != nil {
		return nil, err
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, skip(fmt.Sprintf("stepping the clock of one process needs root: %v", err))
	}
	m.t.defers(func() { _ = memory.Close() }) // the process is gone by then
	image := make([]byte, to-from)
	if _, err := memory.ReadAt(image, from); err != nil {
		return nil, fmt.Errorf("read the clock's code: %w", err)
	}
	offset, err := symbol(image, "__vdso_clock_gettime")
	if err != nil {
		return nil, err
	}
	if err := m.halted(ctx, from, to, func() error {
		_, err := memory.WriteAt([]byte(shifted), from+offset)
		return err
	}); err != nil {
		return nil, fmt.Errorf("replace the clock's code: %w", err)
	}
	return &clock{memory, from + offset + int64(strings.Index(shifted, "\x48\x81\x06")) + 3}, nil
}

// set puts the clock ahead of the machine's, or behind it.
func (c *clock) set(ahead time.Duration) error {
	var seconds [4]byte
	binary.LittleEndian.PutUint32(seconds[:], uint32(int32(ahead.Seconds())))
	_, err := c.memory.WriteAt(seconds[:], c.at)
	return err
}

// mapped is where a mapping of a process lies.
func mapped(pid int, name string) (from, to int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasSuffix(strings.TrimSpace(line), name) {
			_, err := fmt.Sscanf(line, "%x-%x", &from, &to)
			return from, to, err
		}
	}
	return 0, 0, fmt.Errorf("process %d has no %s", pid, name)
}

// symbol is where a function stands in an ELF image.
func symbol(image []byte, name string) (int64, error) {
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, err
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name == name {
			return int64(s.Value), nil
		}
	}
	return 0, fmt.Errorf("no %s there", name)
}

// halted does something while the process stands still, with no thread of it between two addresses.
func (m *watchman) halted(ctx context.Context, from, to int64, do func() error) error {
	for range 20 {
		if err := m.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		err := wait(ctx, 20*time.Millisecond)
		quiet := err == nil && m.outside(from, to)
		if quiet {
			err = do()
		}
		if err := errors.Join(err, m.signal(syscall.SIGCONT)); err != nil || quiet {
			return err
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("some thread is always at it")
}

// outside tells whether all threads of a stopped process stand, and none between two addresses.
func (m *watchman) outside(from, to int64) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", m.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		return false
	}
	for _, file := range threads {
		text, err := os.ReadFile(file)
		fields := strings.Fields(string(text))
		if err != nil || len(fields) < 2 { // "running"
			return false
		}
		at, err := strconv.ParseInt(strings.TrimPrefix(fields[len(fields)-1], "0x"), 16, 64)
		if err != nil || at >= from && at < to {
			return false
		}
	}
	return true
}

// stepped steps the clock to and fro while alert a fires and alert b does not.
func stepped(ctx context.Context, t *trial) error {
	m, s, r, err := t.burning(ctx)
	if err != nil {
		return err
	}
	s.set("b", false)
	c, err := m.clock(ctx)
	if err != nil {
		return err
	}
	var faults []error
	for _, ahead := range []time.Duration{time.Hour, 0, -time.Hour, 0} {
		if err := c.set(ahead); err != nil {
			return err
		}
		began := time.Now()
		if err := wait(ctx, t.length(25*time.Second, 8*time.Second)); err != nil {
			return err
		}
		end := time.Now()
		if err := wait(ctx, 2*time.Second); err != nil {
			return err
		}
		if err := m.kept(ctx, s, began, end); err != nil {
			faults = append(faults, fmt.Errorf("clock at %+.0fh: %w", ahead.Hours(), err))
		}
		if err := errors.Join(r.steady("a"), r.lasting("a", end)); err != nil {
			faults = append(faults, fmt.Errorf("clock at %+.0fh: %w", ahead.Hours(), err))
		}
		if _, body := m.get(ctx, "/api/v1/status/runtimeinfo"); !strings.Contains(body, time.Now().Add(ahead).UTC().Format("2006-01-02T15:")) {
			return fmt.Errorf("the clock was not set: %.300s", body)
		}
	}
	t.hit = true
	if len(r.of("b")) > 0 {
		faults = append(faults, errors.New("alert b came, and nothing is broken"))
	}
	if !strings.Contains(m.log.String(), "clock") {
		faults = append(faults, errors.New("the log does not warn of the clock"))
	}
	return errors.Join(faults...)
}

// kept checks that of the scrapes finished in a span nearly all are stored, whatever time they are stored under.
func (m *watchman) kept(ctx context.Context, s *target, from, to time.Time) error {
	result, err := m.query(ctx, fmt.Sprintf("beat[4h] @ %d", time.Now().Add(2*time.Hour).Unix()))
	if err != nil {
		return err
	}
	stored := map[string]bool{}
	for _, one := range result {
		for _, v := range one.Values {
			stored[fmt.Sprint(v[1])] = true
		}
	}
	finished, kept := s.finished(from, to), 0
	for _, n := range finished {
		if stored[strconv.Itoa(n)] {
			kept++
		}
	}
	m.t.note("lost samples", float64(len(finished)-kept))
	if len(finished) == 0 || float64(kept) < 0.95*float64(len(finished)) {
		return fmt.Errorf("%d of %d samples are stored", kept, len(finished))
	}
	return nil
}

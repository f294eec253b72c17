package topology

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// laughs is the billion laughs in so many levels of ten.
func laughs(levels int) string {
	var b strings.Builder
	b.WriteString("x-0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol,lol]\n")
	for i := 1; i <= levels; i++ {
		fmt.Fprintf(&b, "x-%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	return b.String()
}

// merges is the billion laughs by merge keys: every level merges the one before ten times over.
func merges(levels int) string {
	var b strings.Builder
	b.WriteString("x-0: &a0 {image: x}\n")
	for i := 1; i <= levels; i++ {
		fmt.Fprintf(&b, "x-%d: &a%d {<<: [%s], k%d: 1}\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","), i)
	}
	return b.String() + fmt.Sprintf("services:\n  a: *a%d\n", levels)
}

// aliases400 is a real file: one anchor, four hundred services that merge it.
func aliases400() string {
	var b strings.Builder
	b.WriteString("x-base: &base\n  image: node:18.16-alpine\n  expose: ['3000']\n  environment: &env {A: '1', B: '2', C: '3'}\nservices:\n")
	for i := range 200 {
		fmt.Fprintf(&b, "  s%d:\n    <<: *base\n    environment: {<<: *env, D: '%d'}\n", i, i)
	}
	return b.String()
}

// TestBombs is row E36: real files are read, bombs are refused at their line, both within a second and
// 100 MiB.
func TestBombs(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"400 aliases", aliases400(), ""},
		{"all ports, short form", "services:\n  a: {image: x, ports: ['1-65535:1-65535'], labels: {slowburn.port: '80'}}\n", ""},
		{"all ports, exposed", "services:\n  a: {image: x, expose: ['1-65535'], labels: {slowburn.port: '80'}}\n", ""},
		{"billion laughs", laughs(9), "compose.yaml:5:27: holds more than 50000 nodes once aliases are written out"},
		{"billion laughs by merge keys", merges(9), "compose.yaml:"},
		{"depth in flow", strings.Repeat("[", 1_000_000), "compose.yaml:1:10001: exceeded max depth of 10000"},
		{"depth in flow mappings", strings.Repeat("{a: ", 250_000), "compose.yaml:1:"},
		{"depth in block", strings.Repeat("- ", 500_000), "compose.yaml:1:"},
		{"depth of 101", "a: " + strings.Repeat("[", 101) + strings.Repeat("]", 101), "compose.yaml:1:104: nested deeper than 100 levels"},
		{"cycle", "services: &s {a: {b: *s}}\n", "compose.yaml:1:22: alias *s stands inside its own anchor"},
		{"cycle by merge key", "services: &s {<<: *s}\n", "compose.yaml:1:19: alias *s stands inside its own anchor"},
		{"a key twice in 1,900", "services:\n" + numbered(1_900, "  s%d: {}\n") + "  s7: {}\n", "compose.yaml:1902:3: key \"s7\" already stands in line 9"},
		{"more than fits", "services:\n" + strings.Repeat("# padding\n", 200_000), "compose.yaml: Compose file is larger than 1048576 bytes"},
		{"many services", "services:\n" + numbered(1_000, "  s%d: {image: x, expose: ['1']}\n"), ""},
		{"defaults of defaults", "services:\n  a: {image: '" + strings.Repeat("${A:-", 5_000) + "x" + strings.Repeat("}", 5_000) + "', expose: ['1']}\n", "compose.yaml:2:14: value with more than 64 variables"},
		{"64 of them", "services:\n  a: {image: '" + strings.Repeat("${A:-", 64) + "x" + strings.Repeat("}", 64) + "', expose: ['1']}\n", ""},
		{"open braces", "services:\n  a: {image: '" + strings.Repeat("${A:-", 60) + "', expose: ['1']}\n", "compose.yaml:2:14:"},
		{"binary", "\x7fELF\x02\x01\x01\x00\x00", "compose.yaml:1:5: control characters are not allowed"},
		{"UTF-16", "\xff\xfes\x00e\x00r\x00v\x00i\x00c\x00e\x00s\x00:\x00\n\x00 \x00a\x00:\x00 \x00x\x00\n\x00", "compose.yaml:"},
		{"null bytes", strings.Repeat("\x00", 1<<20), "compose.yaml:1:1:"},
		{"wrong types", "services:\n  a: {image: [1], ports: {a: b}, labels: 7, expose: x, build: [], deploy: 1, extends: 3, profiles: {}}\n", "compose.yaml:2:"},
		{"wrong types at the top", "services: [a]\ninclude: {a: b}\nname: [x]\n", "compose.yaml:"},
		{"nothing", "", ""},
		{"only a comment", "# nothing\n", ""},
		{"null services", "services:\n", "compose.yaml:1:1: Compose refuses it: services must be a mapping"},
		{"10,000 services", "services:\n" + numbered(10_000, "  s%d: {}\n"), "compose.yaml:1:1: more than 2000 services"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			appendTo(t, filepath.Join(dir, "compose.yaml"), tt.text)
			top, took, peak := measured(t, dir)
			if tt.want == "" {
				if text := lines(top.Findings); strings.Contains(text, "error") {
					t.Errorf("findings:\n%s", text)
				}
			} else if text := lines(top.Findings); !strings.Contains("\n"+text, "\nerror "+tt.want) || len(top.Services) > 0 {
				t.Errorf("%d services, findings:\n%.2000s\nwant %s", len(top.Services), text, tt.want)
			}
			t.Logf("%s, %d MiB", took.Round(time.Millisecond), peak>>20)
			if took > time.Second*slowdown || peak > 100<<20 {
				t.Errorf("took %s and %d MiB", took, peak>>20)
			}
		})
	}
}

// slowdown allows for the race detector and for the watch over memory.
const slowdown = 5

func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// measured scans under a soft memory limit, so that the peak tells what is needed and not what was spared
// the collector, and returns the time on the processors and the heap's greatest size seen.
func measured(t *testing.T, dir string) (*Topology, time.Duration, uint64) {
	t.Helper()
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(100 << 20))
	runtime.GC()
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() { // ends when stop is closed
		var greatest uint64
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			greatest = max(greatest, m.HeapAlloc)
			select {
			case <-stop:
				peak <- greatest
				return
			case <-tick.C:
			}
		}
	}()
	start := cpuTime(t)
	top := scanned(t, dir, Options{})
	took := cpuTime(t) - start
	close(stop)
	return top, took, <-peak
}

// cpuTime is what this process has used so far: the clock on the wall would also count what else the machine does.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestSpecialFiles is row E38 for Compose: no hang and nothing from outside, whatever stands in a file's place.
func TestSpecialFiles(t *testing.T) {
	const good = "services:\n  a: {image: leak, expose: ['1']}\n"
	for _, tt := range []struct {
		name string
		make func(t *testing.T, dir string)
		want string
	}{
		{"symlink out", func(t *testing.T, dir string) {
			appendTo(t, filepath.Join(filepath.Dir(dir), "out.yaml"), good)
			link(t, "../out.yaml", filepath.Join(dir, "compose.yaml"))
		}, "error compose.yaml: Compose file is a symlink that leaves the scanned directory: move it inside, or scan the directory that holds both (SB043)"},
		{"extends through a symlink out", func(t *testing.T, dir string) {
			appendTo(t, filepath.Join(filepath.Dir(dir), "out.yaml"), good)
			link(t, "..", filepath.Join(dir, "up"))
			appendTo(t, filepath.Join(dir, "compose.yaml"), "services:\n  b: {extends: {file: up/out.yaml, service: a}}\n")
		}, "error compose.yaml:2:23: \"up/out.yaml\" is a symlink that leaves the scanned directory: move it inside, or scan the directory that holds both (SB043)"},
		{"symlink inside", func(t *testing.T, dir string) {
			appendTo(t, filepath.Join(dir, "real.yaml"), good)
			link(t, "real.yaml", filepath.Join(dir, "compose.yaml"))
		}, ""},
		{"symlink loop", func(t *testing.T, dir string) { link(t, "compose.yaml", filepath.Join(dir, "compose.yaml")) }, "error compose.yaml: Compose file EvalSymlinks: too many links"},
		{"FIFO", func(t *testing.T, dir string) { fifo(t, filepath.Join(dir, "compose.yaml")) }, "error compose.yaml: Compose file is not a regular file"},
		{"FIFO for .env of an include", func(t *testing.T, dir string) {
			appendTo(t, filepath.Join(dir, "compose.yaml"), "include: [sub/c.yaml]\n")
			if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
				t.Fatal(err)
			}
			appendTo(t, filepath.Join(dir, "sub", "c.yaml"), good)
			fifo(t, filepath.Join(dir, "sub", ".env"))
		}, "error sub/.env: \"sub/.env\" is not a regular file"},
		{"link to /dev/zero", func(t *testing.T, dir string) { link(t, "/dev/zero", filepath.Join(dir, "compose.yaml")) }, "error compose.yaml: Compose file is a symlink that leaves the scanned directory"},
		{"directory", func(t *testing.T, dir string) {
			if err := os.Mkdir(filepath.Join(dir, "compose.yaml"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "error compose.yaml: Compose file is not a regular file (d---------)"},
		{"Dockerfile and .nvmrc out", func(t *testing.T, dir string) {
			appendTo(t, filepath.Join(filepath.Dir(dir), "secret"), "FROM leak\n")
			appendTo(t, filepath.Join(dir, "compose.yaml"), "services:\n  a: {build: ., expose: ['1']}\n")
			link(t, "../secret", filepath.Join(dir, "Dockerfile"))
			link(t, "../secret", filepath.Join(dir, ".nvmrc"))
		}, "warning .nvmrc: \".nvmrc\" is a symlink that leaves the scanned directory: correct the file (SB043)\n" +
			"warning compose.yaml:2:3: Dockerfile \"Dockerfile\" of service \"a\" is a symlink that leaves the scanned directory: correct build.dockerfile (SB043)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "shop")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			tt.make(t, dir)
			top := scanned(t, dir, Options{})
			compareLines(t, tt.want, strings.TrimSuffix(lines(top.Findings), "\n"))
			if tt.want != "" && strings.Contains(fmt.Sprint(top.Services), "leak") {
				t.Errorf("read from outside: %+v", top.Services)
			}
		})
	}
}

func link(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
}

// TestGuard proves the second lock: compose-go opens no file that was not approved, even when told to.
func TestGuard(t *testing.T) {
	dir := world(t, "-- compose.yaml --\nservices:\n  b: {extends: {file: ../out.yaml, service: a}}\n")
	appendTo(t, filepath.Join(filepath.Dir(dir), "out.yaml"), "services:\n  a: {image: leak}\n")
	r, err := openRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &scan{root: r, env: map[string]string{}, docs: map[string]*document{}, approved: map[string]bool{}, main: r.dir}
	d := s.open("compose.yaml", slo.Position{})
	if p, err := s.load(context.Background(), []*document{d}, nil); err == nil || !strings.Contains(err.Error(), errOutside.Error()) {
		t.Errorf("project %v, error %v", p, err)
	}
}

func TestScanOfNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	appendTo(t, file, "x")
	for _, dir := range []string{filepath.Join(t.TempDir(), "none"), file} {
		if top, err := Scan(context.Background(), dir, Options{}); err == nil {
			t.Errorf("%s: %+v", dir, top)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Scan(ctx, t.TempDir(), Options{}); err == nil {
		t.Error("a cancelled scan gives no error")
	}
}

// TestEnvironment shows that the process wins over .env, and that given variables are all there is.
func TestEnvironment(t *testing.T) {
	t.Setenv("SLOWBURN_TEST_B", "process")
	dir := world(t, "-- compose.yaml --\nservices:\n  a: {image: '${SLOWBURN_TEST_A:-none}:${SLOWBURN_TEST_B:-none}', expose: ['1']}\n-- .env --\nSLOWBURN_TEST_A=file\nSLOWBURN_TEST_B=file\n")
	top, err := Scan(context.Background(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := service(t, quiet(t, top), "a").Image; got != "file:process" {
		t.Errorf("image %s", got)
	}
	if got := service(t, scanned(t, dir, Options{}), "a").Image; got != "none:none" {
		t.Errorf("image %s with no variables given", got)
	}
}

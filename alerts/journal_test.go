package alerts

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// What a killed process leaves is delivered by the next.
func TestOutboxSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		am := newAlertmanager()
		began := time.Now()
		first := newSender(t, network{"http://am": am}, Options{Dir: dir})
		first.Notify(t.Context(), "1", firing("A", began), resolved("B", began, began.Add(time.Second)), firing("C", began))
		// Killed: it is neither run nor closed. The next one comes when A's and C's validity has run out.
		time.Sleep(10 * time.Minute)
		second := newSender(t, network{"http://am": am}, Options{Dir: dir})
		second.Notify(t.Context(), "1", resolved("C", began, time.Now()))
		stop := run(t, second)
		synctest.Wait()
		if starts, ends, ok := am.has("A"); !ok || !starts.Equal(began) || !ends.After(time.Now()) {
			t.Errorf("A: %v %v %v", starts, ends, ok)
		}
		if _, ends, ok := am.has("B"); !ok || !ends.Equal(began.Add(time.Second)) {
			t.Errorf("B: %v %v", ends, ok)
		}
		if _, ends, ok := am.has("C"); !ok || !ends.Equal(time.Now()) {
			t.Errorf("C: %v %v", ends, ok)
		}
		stop()
		before, _ := am.count()
		third := newSender(t, network{"http://am": am}, Options{Dir: dir})
		stop = run(t, third)
		time.Sleep(time.Minute)
		stop()
		if after, _ := am.count(); after != before {
			t.Errorf("%d alerts were delivered again", after-before)
		}
	})
}

// An evaluator that was killed and has forgotten since when an alert without a `for` fires tells of the same outage anew.
func TestStartSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		am := newAlertmanager()
		began := time.Now()
		first := newSender(t, network{"http://am": am}, Options{Dir: dir})
		stop := run(t, first)
		first.Notify(t.Context(), "1", firing("A", began), firing("B", began), firing("C", began))
		synctest.Wait()
		stop()
		// D waits for its delivery when the process is killed.
		waiting := newSender(t, network{"http://am": am}, Options{Dir: dir})
		waiting.Notify(t.Context(), "1", firing("D", began), resolved("C", began, began.Add(time.Second)))

		time.Sleep(10 * time.Second)
		anew := time.Now()
		second := newSender(t, network{"http://am": am}, Options{Dir: dir})
		defer run(t, second)()
		second.Notify(t.Context(), "1", firing("A", anew), firing("C", anew), firing("D", anew))
		synctest.Wait()
		time.Sleep(10 * time.Minute)
		second.Notify(t.Context(), "1", resolved("A", anew, anew.Add(time.Second)), firing("B", time.Now()))
		synctest.Wait()
		for name, want := range map[string]time.Time{
			"A": began,
			"B": anew.Add(10 * time.Minute), // the first outage had ended by itself
			"C": anew,                       // the first outage was told to have ended
			"D": began,
		} {
			if starts, _, ok := am.has(name); !ok || !starts.Equal(want) {
				t.Errorf("%s starts %v, want %v", name, starts, want)
			}
		}
	})
}

// An alert that is known to fire, and was not confirmed since, is neither ended nor prolonged by a late delivery.
func TestUnconfirmedAlertIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := newAlertmanager()
		s := newSender(t, network{"http://am": am}, Options{})
		defer run(t, s)()
		began := time.Now()
		s.Notify(t.Context(), "1", firing("A", began))
		synctest.Wait()
		am.fail(down)
		s.Notify(t.Context(), "1", firing("A", began))
		time.Sleep(10 * time.Minute)
		am.fail(nil)
		time.Sleep(time.Minute)
		if alerts, _ := am.count(); alerts != 1 {
			t.Errorf("%d deliveries", alerts)
		}
		s.Notify(t.Context(), "1", firing("A", began))
		synctest.Wait()
		if _, ends, _ := am.has("A"); !ends.After(time.Now()) {
			t.Errorf("ends %v", ends)
		}
	})
}

func TestUselessNoticesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		am := newAlertmanager()
		am.fail(down)
		s := newSender(t, network{"http://am": am}, Options{ResolveRetention: time.Hour})
		defer run(t, s)()
		s.Notify(t.Context(), "1", resolved("A", time.Now(), time.Now()))
		time.Sleep(59 * time.Minute)
		if n := s.Queued(); n != 1 {
			t.Errorf("%d queued after 59 minutes", n)
		}
		time.Sleep(2 * time.Minute)
		if n := s.Queued(); n != 0 {
			t.Errorf("%d queued after 61 minutes", n)
		}
	})
}

func TestDamagedOutbox(t *testing.T) {
	for _, row := range []struct {
		what   string
		damage func([]byte) []byte
		want   string // what is delivered
		aside  bool
	}{
		{"cut short in the last line", func(b []byte) []byte { return b[:len(b)-5] }, "AB", false},
		{"bits flipped in the second line", func(b []byte) []byte { b[bytes.Index(b, []byte(`"B"`))+1] ^= 4; return b }, "AC", true},
		{"all zero", func(b []byte) []byte { clear(b); return append(b, '\n') }, "", true},
		{"empty", func([]byte) []byte { return nil }, "", false},
	} {
		t.Run(row.what, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				am := newAlertmanager()
				s := newSender(t, network{"http://am": am}, Options{Dir: dir})
				for _, name := range []string{"A", "B", "C"} {
					s.Notify(t.Context(), "1", firing(name, time.Now()))
				}
				files, err := filepath.Glob(filepath.Join(dir, "*"))
				if err != nil || len(files) != 1 {
					t.Fatal(files, err)
				}
				content, err := os.ReadFile(files[0])
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(files[0], row.damage(content), 0o666); err != nil {
					t.Fatal(err)
				}
				s = newSender(t, network{"http://am": am}, Options{Dir: dir})
				run(t, s)()
				if got := strings.Join(am.order, ""); got != row.want {
					t.Errorf("delivered %q, want %q", got, row.want)
				}
				if _, err := os.Stat(files[0] + ".damaged"); (err == nil) != row.aside {
					t.Errorf("copy aside: %v", err)
				}
			})
		})
	}
}

func TestJournalStaysSmall(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSender(t, network{"http://am": newAlertmanager()}, Options{Dir: dir})
		a := firing("A", time.Now())
		a.Annotations = labels.FromStrings("summary", strings.Repeat("x", 10_000))
		for range 1000 {
			s.Notify(t.Context(), "1", a)
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*.outbox"))
		info, err := os.Stat(files[0])
		if err != nil || info.Size() > 2*minCompact {
			t.Errorf("%d bytes for one alert, %v", info.Size(), err)
		}
		run(t, s)()
	})
}

func FuzzDecode(f *testing.F) {
	line, err := encode(record{Put: &item{Labels: map[string]string{"alertname": "A"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add([]byte("00000000 \n"))
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, ok := decode(line)
		if !ok {
			return
		}
		again, err := encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := decode(again); !ok {
			t.Errorf("%q became %q", line, again)
		}
	})
}

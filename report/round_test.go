package report

import (
	"testing"
	"time"
)

func TestRound(t *testing.T) {
	for d, want := range map[time.Duration]string{
		12345 * time.Nanosecond: "10µs", 1234 * time.Millisecond: "1.23s", time.Minute: "1m", 10 * time.Minute: "10m", time.Hour: "1h",
		20 * time.Hour: "20h", time.Hour + 40*time.Minute: "1h40m", time.Hour + 4*time.Second: "1h0m4s", 90 * time.Second: "1m30s", 20*time.Minute + 34*time.Second: "20m34s",
	} {
		if got := Round(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

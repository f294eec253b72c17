package main

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestOnlyWhatIsLateIsTriedAgain(t *testing.T) {
	slow, wrong := inTime("ready", 3*time.Second, 2*time.Second), errors.New("an alert was lost")
	for _, test := range []struct {
		name string
		err  error
		want bool
	}{
		{"nothing", nil, false},
		{"in time", inTime("ready", time.Second, 2*time.Second), false},
		{"late", slow, true},
		{"late, told with more words", fmt.Errorf("after damage: %w", slow), true},
		{"wrong", wrong, false},
		{"twice late", errors.Join(slow, slow), true},
		{"late and wrong", errors.Join(slow, wrong), false},
		{"late and wrong, with more words", errors.Join(fmt.Errorf("x: %w", errors.Join(slow, wrong))), false},
	} {
		if got := onlyLate(test.err); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestUntilTellsLateFromNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for after, want := range map[time.Duration]string{time.Second: "in time", 5 * time.Second: "late", time.Hour: "never"} {
			began := time.Now()
			_, err := until(t.Context(), 2*time.Second, "it", func() (bool, string) { return time.Since(began) >= after, "nothing" })
			got := "never"
			switch {
			case err == nil:
				got = "in time"
			case onlyLate(err):
				got = "late"
			}
			if got != want {
				t.Errorf("what comes after %s is %s: %v", after, got, err)
			}
		}
	})
}

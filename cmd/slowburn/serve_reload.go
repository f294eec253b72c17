package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// loaded remembers how the last reading of the configuration went.
type loaded struct {
	successful, success prometheus.Gauge

	mu sync.Mutex
	ok bool
	at time.Time
}

func newLoaded(r prometheus.Registerer) (*loaded, error) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "slowburn", Subsystem: "config", Name: name, Help: help})
	}
	l := &loaded{
		successful: gauge("last_reload_successful", "1 where the last reading of contracts and configuration was put in force, 0 where it was refused."),
		success:    gauge("last_reload_success_timestamp_seconds", "When contracts and configuration were last put in force."),
	}
	for _, c := range []prometheus.Collector{l.successful, l.success} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of reloading: %w", err)
		}
	}
	return l, nil
}

// note keeps the outcome of a reading that ended at a time.
func (l *loaded) note(err error, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ok = err == nil
	if !l.ok {
		l.successful.Set(0)
		return
	}
	l.at = at
	l.successful.Set(1)
	l.success.Set(float64(at.Unix()))
}

// last tells whether the last reading was put in force, and when one last was.
func (l *loaded) last() (ok bool, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ok, l.at
}

package tsdb

import (
	"fmt"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// metrics are ours, and stand beside upstream's, which upstream collects.
type metrics struct {
	collectors []prometheus.Collector

	walDamaged    prometheus.Counter
	blocksDamaged prometheus.Counter
	torn          prometheus.Counter
	reopened      prometheus.Counter
	refused       prometheus.Counter
}

func newMetrics(db *DB) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "slowburn", Subsystem: "tsdb", Name: name, Help: help})
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "slowburn", Subsystem: "tsdb", Name: name, Help: help}, f)
	}
	m := &metrics{
		walDamaged:    counter("wal_damaged_total", "Openings that found the write-ahead log damaged and kept a copy of it aside."),
		blocksDamaged: counter("blocks_damaged_total", "Blocks that could not be read and were moved aside."),
		torn:          counter("torn_writes_total", "Writes that failed and left the write-ahead log torn."),
		reopened:      counter("reopened_total", "Reopenings after a torn write."),
		refused:       counter("appends_refused_total", "Transactions refused because nothing could be stored."),
	}
	m.collectors = []prometheus.Collector{
		m.walDamaged, m.blocksDamaged, m.torn, m.reopened, m.refused,
		gauge("healthy", "1 while samples are being stored.", func() float64 {
			if db.Health() != nil {
				return 0
			}
			return 1
		}),
		gauge("free_bytes", "Room left on the volume of the database.", func() float64 {
			free, _, err := db.opts.Space(db.dir)
			if err != nil {
				return 0
			}
			return float64(free)
		}),
		upstream{db},
	}
	return m
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range m.collectors {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

func (m *metrics) unregister(r prometheus.Registerer) {
	if r == nil {
		return
	}
	for _, c := range m.collectors {
		r.Unregister(c)
	}
}

// upstream collects the metrics of whichever generation is current. It describes none,
// because there may be no generation to ask.
type upstream struct{ db *DB }

func (upstream) Describe(chan<- *prometheus.Desc) {}

func (u upstream) Collect(ch chan<- prometheus.Metric) {
	g, err := u.db.enter()
	if err != nil {
		return
	}
	defer u.db.leave(g)
	g.registry.Collect(ch)
}

// writeFailures counts the writes to the logs that failed, as upstream's own counters have them.
type writeFailures struct {
	mu       sync.Mutex
	counters []prometheus.Collector
}

func (w *writeFailures) count() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	total := 0.0
	for _, c := range w.counters {
		ch := make(chan prometheus.Metric, 1)
		c.Collect(ch)
		var m dto.Metric
		if (<-ch).Write(&m) == nil {
			total += m.GetCounter().GetValue()
		}
	}
	return total
}

// watchingRegisterer picks the counters of failed log writes out of what upstream registers: there is no other way
// to hear of a failed write to the out-of-order log.
type watchingRegisterer struct {
	prometheus.Registerer
	failures *writeFailures
}

func (w *watchingRegisterer) Register(c prometheus.Collector) error {
	if described(c, "_writes_failed_total") {
		w.failures.mu.Lock()
		w.failures.counters = append(w.failures.counters, c)
		w.failures.mu.Unlock()
	}
	return w.Registerer.Register(c)
}

func (w *watchingRegisterer) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := w.Register(c); err != nil {
			panic(err)
		}
	}
}

func described(c prometheus.Collector, name string) bool {
	descs := make(chan *prometheus.Desc, 16)
	go func() { // ends when the collector has described itself
		defer close(descs)
		c.Describe(descs)
	}()
	found := false
	for d := range descs {
		found = found || strings.Contains(d.String(), name+`"`)
	}
	return found
}

func counterValue(g prometheus.Gatherer, name string) float64 {
	families, _ := g.Gather() // what could be gathered is returned beside the error
	for _, f := range families {
		if f.GetName() == name && len(f.GetMetric()) > 0 {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return 0
}

package alerts

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Reasons for which alerts are dropped.
const (
	reasonFull    = "queue_full"
	reasonExpired = "expired"
	reasonInvalid = "invalid"
)

// metrics of all Alertmanagers.
type metrics struct {
	sent, failed, dropped, unkept, damaged *prometheus.CounterVec
	queue, success                         *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "slowburn", Subsystem: "alerts", Name: name, Help: help},
			append([]string{"alertmanager"}, labels...))
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "slowburn", Subsystem: "alerts", Name: name, Help: help}, []string{"alertmanager"})
	}
	m := &metrics{
		sent:    counter("sent_total", "Alerts that an Alertmanager has taken."),
		failed:  counter("failed_posts_total", "POSTs to an Alertmanager that failed."),
		dropped: counter("dropped_total", "Alerts given up, by reason.", "reason"),
		unkept:  counter("outbox_write_errors_total", "Writes to the outbox on disk that failed."),
		damaged: counter("outbox_damaged_lines_total", "Lines of the outbox on disk that could not be read."),
		queue:   gauge("queue_length", "Alerts that wait for an Alertmanager."),
		success: gauge("last_success_timestamp_seconds", "When an Alertmanager last took alerts; 0 if never."),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.sent, m.failed, m.dropped, m.unkept, m.damaged, m.queue, m.success} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of alerts: %w", err)
		}
	}
	return m, nil
}

// gauges are the metrics of one Alertmanager.
type gauges struct {
	sent, failed, unkept, damaged prometheus.Counter
	dropped                       map[string]prometheus.Counter
	queue, success                prometheus.Gauge
	remove                        func()
}

// of makes the metrics of an Alertmanager, all at zero.
func (m *metrics) of(name string) gauges {
	g := gauges{
		sent: m.sent.WithLabelValues(name), failed: m.failed.WithLabelValues(name), unkept: m.unkept.WithLabelValues(name),
		damaged: m.damaged.WithLabelValues(name), queue: m.queue.WithLabelValues(name), success: m.success.WithLabelValues(name),
		dropped: map[string]prometheus.Counter{},
	}
	for _, reason := range []string{reasonFull, reasonExpired, reasonInvalid} {
		g.dropped[reason] = m.dropped.WithLabelValues(name, reason)
	}
	g.remove = func() {
		labels := prometheus.Labels{"alertmanager": name}
		for _, v := range []*prometheus.CounterVec{m.sent, m.failed, m.dropped, m.unkept, m.damaged} {
			v.DeletePartialMatch(labels)
		}
		m.queue.Delete(labels)
		m.success.Delete(labels)
	}
	return g
}

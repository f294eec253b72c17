package rulegen

import (
	"testing"

	"github.com/slowburn/slowburn/slo"
)

func TestCandidates(t *testing.T) {
	for _, row := range []struct {
		what     string
		of       slo.Indicator
		name     string
		expected bool
	}{
		{"the metrics that are named", slo.Availability{Errors: `bad_total{x="1"}`, Total: "all_total"}, "bad_total", true},
		{"the metrics that are named", slo.Availability{Errors: `bad_total{x="1"}`, Total: "all_total"}, "all_total", true},
		{"no others", slo.Availability{Total: "all_total"}, "http_requests_total", false},
		{"a histogram's buckets", slo.Latency{Metric: "d_seconds"}, "d_seconds_bucket", true},
		{"a histogram itself", slo.Latency{Metric: "d_seconds_bucket"}, "d_seconds", true},
		{"the conventional ones", slo.Unnamed{}, "shop_http_requests_total", true},
		{"the conventional histograms", slo.Unnamed{}, "http_request_duration_seconds_bucket", true},
		{"our own", slo.Unnamed{Instrument: true}, instrumentEvents, true},
		{"none that only begin alike", slo.Unnamed{}, "http_requests_total_created", false},
	} {
		if got := Candidates([]slo.Objective{{Indicator: row.of}}).Matches(row.name); got != row.expected {
			t.Errorf("%s: %s: %v", row.what, row.name, got)
		}
	}
}

package rulegen

import (
	"fmt"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/slowburn/slowburn/slo"
)

// Reads is which series the rules of an objective read, by their matchers.
type Reads struct {
	Total  []*labels.Matcher // all events; for a native histogram, itself
	Errors []*labels.Matcher // failed events, where they are counted
	Good   []*labels.Matcher // events within the threshold, where those are counted: a classic histogram's bucket
	Native bool
	Bound  float64 // the threshold of a latency in the histogram's own unit
}

// ReadsOf lists what the rules that Compile makes of an objective read.
func ReadsOf(o slo.Objective, opts Options) (Reads, error) {
	c, err := newCompiler(o, opts)
	if err != nil {
		return Reads{}, fmt.Errorf("%s: objective %s: %w", o.Source(), o.ID(), err)
	}
	switch ev := c.events.(type) {
	case counters:
		return Reads{Total: ev.total.vector().LabelMatchers, Errors: ev.errors.vector().LabelMatchers}, nil
	case buckets:
		return Reads{Total: ev.all.vector().LabelMatchers, Good: ev.good.vector().LabelMatchers, Bound: ev.bound}, nil
	case native:
		return Reads{Total: ev.metric.vector().LabelMatchers, Native: true, Bound: ev.bound}, nil
	}
	panic(fmt.Sprintf("rulegen: events %T", c.events))
}

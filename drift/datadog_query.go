package drift

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/slowburn/slowburn/slo"
)

// datadogQuery is what a monitor's query says, so far as it can bear on an SLO.
type datadogQuery struct {
	kind      queryKind
	slo       string        // id of the SLO, of burnRateQuery and budgetQuery
	over      time.Duration // the SLO's timeframe
	long      time.Duration
	short     time.Duration // zero where the query has none
	last      time.Duration // of metricQuery: the evaluation window
	ratio     bool          // of metricQuery: one metric is divided by another
	percent   bool          // of metricQuery: and multiplied by 100
	operator  string
	threshold float64
}

type queryKind int

const (
	otherQuery    queryKind = iota // its threshold is read, the rest is not understood
	burnRateQuery                  // burn_rate("id").over("30d").long_window("1h").short_window("5m") > 14.4
	budgetQuery                    // error_budget("id").over("30d") > 75
	metricQuery                    // sum(last_5m):sum:errors{*}.as_count() / sum:requests{*}.as_count() > 0.05
)

const datadogNumber = `([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)`

var (
	comparisonForm = regexp.MustCompile(`^(?s)(.*?)\s*(>=|<=|==|!=|>|<)\s*` + datadogNumber + `\s*$`)
	sloCallForm    = regexp.MustCompile(`^\s*(burn_rate|error_budget)\(\\?["']([^"'\\]{1,200})\\?["']\)((?:\.\w+\(\\?["']\w+\\?["']\))*)$`)
	sloMethodForm  = regexp.MustCompile(`\.(\w+)\(\\?["'](\w+)\\?["']\)`)
	metricForm     = regexp.MustCompile(`(?s)^\s*\w+\((last_[0-9]+[a-z]+)\):(.*)$`)
	percentForm    = regexp.MustCompile(`\*\s*100(?:\.0+)?(?:[^0-9.]|$)|(?:^|[^0-9.])100(?:\.0+)?\s*\*`)
	scopeForm      = regexp.MustCompile(`\{[^{}]*\}`)
)

// maxDatadogQuery bounds a query; Datadog's own bound is well below.
const maxDatadogQuery = 64 << 10

// parseDatadogQuery reads a monitor's query. ok is false where it has no threshold that could be read.
func parseDatadogQuery(text string) (q datadogQuery, ok bool) {
	if len(text) > maxDatadogQuery {
		return datadogQuery{}, false
	}
	m := comparisonForm.FindStringSubmatch(text)
	if m == nil {
		return datadogQuery{}, false
	}
	threshold, err := strconv.ParseFloat(m[3], 64)
	if err != nil {
		return datadogQuery{}, false
	}
	q = datadogQuery{operator: m[2], threshold: threshold}
	switch call, metric := sloCallForm.FindStringSubmatch(m[1]), metricForm.FindStringSubmatch(m[1]); {
	case call != nil:
		return q.sloCall(call[1], call[2], call[3])
	case metric != nil:
		q.kind = metricQuery
		q.last, _ = datadogWindow(strings.TrimPrefix(metric[1], "last_"))
		bare := scopeForm.ReplaceAllString(metric[2], "")
		q.ratio, q.percent = strings.Contains(bare, "/"), percentForm.MatchString(bare)
	}
	return q, true
}

func (q datadogQuery) sloCall(function, id, methods string) (datadogQuery, bool) {
	q.kind, q.slo = budgetQuery, id
	if function == "burn_rate" {
		q.kind = burnRateQuery
	}
	into := map[string]*time.Duration{"over": &q.over, "long_window": &q.long, "short_window": &q.short}
	for _, m := range sloMethodForm.FindAllStringSubmatch(methods, -1) {
		d, ok := datadogWindow(m[2])
		if into[m[1]] == nil || !ok {
			return datadogQuery{}, false
		}
		*into[m[1]] = d
	}
	return q, q.over > 0 && (q.kind == budgetQuery || q.long > 0)
}

// datadogWindow reads 5m, 1h, 30d or 1w; their months and years have no fixed length.
func datadogWindow(s string) (time.Duration, bool) {
	if strings.Trim(s, "0123456789smhdw") != "" {
		return 0, false
	}
	d, err := slo.ParseWindow(s)
	return d, err == nil
}

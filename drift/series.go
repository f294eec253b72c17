package drift

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
)

// sameMatchers compares matchers in any order; those of one label that select the same status codes are the same.
func sameMatchers(a, b []*labels.Matcher) bool {
	for _, name := range names(a, b) {
		if !sameLabel(on(a, name), on(b, name)) {
			return false
		}
	}
	return true
}

func names(lists ...[]*labels.Matcher) []string {
	var all []string
	for _, list := range lists {
		for _, m := range list {
			all = append(all, m.Name)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func on(matchers []*labels.Matcher, name string) []*labels.Matcher {
	var some []*labels.Matcher
	for _, m := range matchers {
		if m.Name == name {
			some = append(some, m)
		}
	}
	return some
}

// sameLabel compares what two lists of matchers ask of one label: the values they take where they are lists of
// values, the status codes where they are about these, else their text.
func sameLabel(a, b []*labels.Matcher) bool {
	return slices.Equal(canonicalAll(a), canonicalAll(b))
}

// canonicalAll writes the matchers of one label, sorted. Those of a status label are written as the codes they take.
func canonicalAll(matchers []*labels.Matcher) []string {
	if len(matchers) > 0 && isStatus(matchers[0].Name) {
		if s := codes(matchers); s.some() {
			return []string{matchers[0].Name + "=" + s.String()}
		}
	}
	var all []string
	for _, m := range matchers {
		all = append(all, canonical(m))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// isStatus reports a label that holds HTTP status codes, by its name.
func isStatus(label string) bool {
	label = strings.ToLower(label)
	return strings.Contains(label, "code") || strings.Contains(label, "status")
}

// canonical writes a=~"x" as a="x", and a=~"y|x" as a=~"x|y".
func canonical(m *labels.Matcher) string {
	if m.Type != labels.MatchRegexp && m.Type != labels.MatchNotRegexp {
		return m.String()
	}
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(m.Value, "^"), "$"), "|")
	for _, p := range parts {
		if regexp.QuoteMeta(p) != p {
			return m.String()
		}
	}
	slices.Sort(parts)
	parts = slices.Compact(parts)
	equal := map[labels.MatchType]labels.MatchType{labels.MatchRegexp: labels.MatchEqual, labels.MatchNotRegexp: labels.MatchNotEqual}
	if len(parts) == 1 {
		return labels.MustNewMatcher(equal[m.Type], m.Name, parts[0]).String()
	}
	return m.Name + m.Type.String() + strconv.Quote(strings.Join(parts, "|"))
}

// statuses says of each HTTP status code whether it is selected. Classes such as 5xx count for all of their codes.
type statuses [500]bool

func codes(matchers []*labels.Matcher) statuses {
	var s statuses
	for i := range s {
		code := strconv.Itoa(100 + i)
		s[i] = all(matchers, code) || all(matchers, code[:1]+"xx") || all(matchers, code[:1]+"XX")
	}
	return s
}

func all(matchers []*labels.Matcher, value string) bool {
	return !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(value) })
}

// some reports matchers that are about status codes: they take some, not all.
func (s statuses) some() bool { return s != statuses{} && s != statuses{}.others() }

// String writes the codes as ranges: 200-299,404.
func (s statuses) String() string {
	var parts []string
	for i := 0; i < len(s); i++ {
		first := i
		for s[i] && i+1 < len(s) && s[i+1] {
			i++
		}
		switch {
		case !s[i]:
		case i == first:
			parts = append(parts, strconv.Itoa(100+i))
		default:
			parts = append(parts, fmt.Sprintf("%d-%d", 100+first, 100+i))
		}
	}
	return strings.Join(parts, ",")
}

func (s statuses) others() statuses {
	for i := range s {
		s[i] = !s[i]
	}
	return s
}

// identity are the labels by which series tell whose they are.
func identity(label string) bool {
	return slices.Contains([]string{"service", "job", "app", "service_name", "container", "instance", "namespace", "cluster", "env", "environment", "slo", "sloth_service", "sloth_slo", "sloth_id"}, label)
}

// owners are the labels among them that name a service.
func owners() []string { return []string{"service", "job", "app", "service_name", "container"} }

// foreign reports matchers that leave out the series of a service.
func foreign(matchers []*labels.Matcher, service string) bool {
	for _, label := range owners() {
		if !all(on(matchers, label), service) {
			return true
		}
	}
	return false
}

// events are matchers without those that say whose the series are.
func events(matchers []*labels.Matcher) []*labels.Matcher {
	var rest []*labels.Matcher
	for _, m := range matchers {
		if !identity(m.Name) {
			rest = append(rest, m)
		}
	}
	return rest
}

// likeness says how a deployed core stands to the contract's.
type likeness int

const (
	unlike     likeness = iota
	alike               // the same events
	complement          // the share of good events, where the contract has the bad
	similar             // the same metrics, other events
)

// likeness compares two cores but for their windows and for whose series they read.
func (c core) likeness(contract core) likeness {
	if c.opaque || len(c.den) == 0 != (len(contract.den) == 0) {
		return unlike
	}
	switch {
	case !metricsMeet(c.den, contract.den) || len(c.num) == 0:
		return unlike
	case eventsEqual(c.num, contract.num) && eventsEqual(c.den, contract.den):
		return alike
	case c.good(contract) && eventsEqual(c.den, contract.den):
		return complement
	case metricsMeet(c.num, contract.num):
		return similar
	}
	return unlike
}

// good reports the other events: other status codes, or the fast bucket where the contract has all but that.
func (c core) good(contract core) bool {
	if len(c.num) != 1 {
		return false
	}
	have := c.num[0]
	if len(contract.num) == 2 {
		i := slices.IndexFunc(contract.num, func(u use) bool { return u.minus })
		return i >= 0 && !have.minus && have.counts(contract.num[i])
	}
	want := contract.num[0]
	if have.metric != want.metric {
		return false
	}
	for _, name := range names(events(have.matchers), events(want.matchers)) {
		a, b := on(have.matchers, name), on(want.matchers, name)
		if len(a) > 0 && len(b) > 0 && isStatus(name) && codes(a).some() && codes(a) == codes(b).others() {
			continue
		}
		if len(a) == 1 && len(b) == 1 && opposite(a[0], b[0]) {
			continue
		}
		if !sameLabel(a, b) {
			return false
		}
	}
	return len(events(want.matchers)) > 0
}

func opposite(a, b *labels.Matcher) bool {
	inverse, err := a.Inverse()
	return err == nil && canonical(inverse) == canonical(b)
}

func eventsEqual(have, want []use) bool {
	if len(have) != len(want) {
		return false
	}
	rest := slices.Clone(want)
	for _, u := range have {
		i := slices.IndexFunc(rest, func(w use) bool { return u.minus == w.minus && u.counts(w) })
		if i < 0 {
			return false
		}
		rest = slices.Delete(rest, i, i+1)
	}
	return true
}

// counts reports that two readings count the same events, in whatever window.
func (u use) counts(o use) bool {
	fraction := func(f string) string {
		if strings.HasPrefix(f, "histogram_fraction") {
			return f
		}
		return ""
	}
	return u.metric == o.metric && fraction(u.function) == fraction(o.function) && sameMatchers(events(u.matchers), events(o.matchers))
}

func metricsMeet(have, want []use) bool {
	if len(have) == 0 && len(want) == 0 {
		return true
	}
	return slices.ContainsFunc(have, func(u use) bool {
		return slices.ContainsFunc(want, func(w use) bool { return u.metric == w.metric })
	})
}

// clip makes text of others fit for one line of a report.
func clip(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError || r >= 0x80 && r < 0xa0 }), " ")
	const most = 200
	if len(text) <= most {
		return text
	}
	cut := most
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

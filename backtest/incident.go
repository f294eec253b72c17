package backtest

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Incident is a time at which a tenant of a service was hit. An empty Tenant means that it is not known whose requests
// failed; an empty SLO, that it is about all the service promises.
type Incident struct {
	Service string            `json:"service"`
	SLO     string            `json:"slo,omitempty"`
	Tenant  string            `json:"tenant,omitempty"`
	Start   time.Time         `json:"start"`
	End     time.Time         `json:"end"`
	Place   string            `json:"place,omitempty"`    // file:line
	Infer   bool              `json:"inferred,omitempty"` // from the budget it spent, by nobody's word
	Extra   map[string]string `json:"extra,omitempty"`    // further columns of the file
}

// numbered is an incident with its place in a back-test's list.
type numbered struct {
	Incident
	number int
}

const maxIncidents = 100_000

// ReadIncidents reads a CSV file whose first line names the columns. It needs service, start and end, as Unix seconds or
// RFC 3339; tenant and slo are known, and what else there is, is kept in Extra. All faults are reported, each at file:line.
func ReadIncidents(r io.Reader, file string) ([]Incident, error) {
	c := csv.NewReader(r)
	notText := func(row []string) bool {
		return slices.ContainsFunc(row, func(field string) bool { return !utf8.ValidString(field) })
	}
	c.TrimLeadingSpace = true
	c.Comment = '#'
	header, err := c.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: empty: write a first line such as service,tenant,start,end", file)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if notText(header) {
		return nil, fmt.Errorf("%s:1: not UTF-8: save the file as CSV in UTF-8", file)
	}
	t := table{file: file, header: header}
	if err := t.check(); err != nil {
		return nil, err
	}
	var all []Incident
	var faults []error
	for {
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return all, errors.Join(faults...)
		}
		if err != nil && !errors.Is(err, csv.ErrFieldCount) {
			return nil, errors.Join(append(faults, fmt.Errorf("%s: %w", file, err))...)
		}
		line, _ := c.FieldPos(0)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s:%d: %d fields, the header has %d", file, line, len(row), len(header)))
			continue
		}
		if notText(row) { // no label of Prometheus has such a value
			faults = append(faults, fmt.Errorf("%s:%d: not UTF-8: save the file as CSV in UTF-8", file, line))
			continue
		}
		one, err := t.incident(row, line)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if all = append(all, one); len(all) > maxIncidents {
			return nil, fmt.Errorf("%s:%d: more than %d incidents", file, line, maxIncidents)
		}
	}
}

// table is a file of incidents with its columns.
type table struct {
	file   string
	header []string
}

func (t *table) check() error {
	var faults []error
	for i, name := range t.header {
		t.header[i] = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(name, "\ufeff")))
		if slices.Contains(t.header[:i], t.header[i]) {
			faults = append(faults, fmt.Errorf("%s:1: column %q stands twice", t.file, t.header[i]))
		}
	}
	for _, need := range []string{"service", "start", "end"} {
		if !slices.Contains(t.header, need) {
			faults = append(faults, fmt.Errorf("%s:1: no column %s among %s", t.file, need, strings.Join(t.header, ", ")))
		}
	}
	return errors.Join(faults...)
}

func (t *table) incident(row []string, line int) (Incident, error) {
	i := Incident{Place: fmt.Sprintf("%s:%d", t.file, line)}
	var faults []error
	when := func(column, text string) time.Time {
		at, err := ParseTime(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %s %w", i.Place, column, err))
		}
		return at
	}
	for k, name := range t.header {
		switch text := strings.TrimSpace(row[k]); name {
		case "service":
			i.Service = text
		case "slo":
			i.SLO = text
		case "tenant":
			i.Tenant = text
		case "start":
			i.Start = when(name, text)
		case "end":
			i.End = when(name, text)
		default:
			if i.Extra == nil {
				i.Extra = map[string]string{}
			}
			i.Extra[name] = text
		}
	}
	if i.Service == "" {
		faults = append(faults, fmt.Errorf("%s: names no service", i.Place))
	}
	if len(faults) == 0 && !i.End.After(i.Start) {
		faults = append(faults, fmt.Errorf("%s: end %s is not after start %s", i.Place, i.End.Format(time.RFC3339), i.Start.Format(time.RFC3339)))
	}
	return i, errors.Join(faults...)
}

// ParseTime reads Unix seconds or RFC 3339, within the years that both can say.
func ParseTime(text string) (time.Time, error) {
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(f) || f < 0 || f > 253402300799 {
			return time.Time{}, fmt.Errorf("%q is no time: Unix seconds lie from 0 to 253402300799", text)
		}
		return time.UnixMilli(int64(math.Round(f * 1000))).UTC(), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time: write Unix seconds or RFC 3339 such as 2026-01-05T10:00:00Z", text)
	}
	return at.UTC(), nil
}

// Where keeps the incidents whose column has the value: where "kind=availability", say.
func Where(all []Incident, column, value string) []Incident {
	return slices.DeleteFunc(slices.Clone(all), func(i Incident) bool {
		switch column {
		case "service":
			return i.Service != value
		case "tenant":
			return i.Tenant != value
		case "slo":
			return i.SLO != value
		}
		return i.Extra[column] != value
	})
}

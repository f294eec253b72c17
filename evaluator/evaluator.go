// Package evaluator turns rule groups and samples into recordings and alerts, by upstream's PromQL engine
// and rule manager: Run does it against the clock, Replay against history. It knows nothing of SLOs, and
// neither stores, scrapes nor delivers.
package evaluator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"go.yaml.in/yaml/v3"
)

// Defaults of a live evaluation, those of Prometheus.
const (
	DefaultInterval    = time.Minute
	defaultResendDelay = time.Minute
	outageTolerance    = time.Hour
	forGracePeriod     = 10 * time.Minute
	stopPatience       = 2 * time.Second // for queries under way when Run is told to end
)

// GeneratedFile is the name under which groups that come from no file appear in the API.
const GeneratedFile = "slowburn"

// Storage is what an Evaluator reads samples from and writes recordings to.
type Storage interface {
	storage.Queryable
	storage.Appendable
}

// Options adjusts an Evaluator. The zero value works.
type Options struct {
	Interval       time.Duration    // of groups that name none
	ResendDelay    time.Duration    // how often a firing alert is notified again
	ExternalLabels labels.Labels    // for templates
	ExternalURL    *url.URL         // what an alert's generator URL starts with
	Notify         rules.NotifyFunc // nil discards alerts
	Engine         EngineOptions
	Logger         *slog.Logger
	Registerer     prometheus.Registerer
}

// Rules is what an Evaluator evaluates: groups made in memory, and rule files loaded verbatim.
type Rules struct {
	Groups *rulefmt.RuleGroups
	Files  []string
}

// Evaluator evaluates rule groups against the clock. It has a PromQL engine of its own, so that no dashboard
// can starve it.
type Evaluator struct {
	manager  *rules.Manager
	loader   *loader
	interval time.Duration
	external labels.Labels
	url      string
	stop     func()
}

// New makes an Evaluator over st. Nothing runs until Run.
func New(st Storage, o Options) *Evaluator {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	if o.ResendDelay == 0 {
		o.ResendDelay = defaultResendDelay
	}
	if o.Notify == nil {
		o.Notify = func(context.Context, string, ...*rules.Alert) {}
	}
	if o.ExternalURL == nil {
		o.ExternalURL = &url.URL{}
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	o.Engine.Logger, o.Engine.Registerer = o.Logger, prometheus.WrapRegistererWith(prometheus.Labels{"engine": "rules"}, o.Registerer)
	load := &loader{Parser: newParser(0)}
	evaluations, cancel := context.WithCancel(context.Background()) // ended by stop
	manager := rules.NewManager(&rules.ManagerOptions{
		NameValidationScheme: model.UTF8Validation,
		ExternalURL:          o.ExternalURL,
		QueryFunc:            rules.EngineQueryFunc(NewEngine(o.Engine), st),
		NotifyFunc:           o.Notify,
		Context:              evaluations,
		Appendable:           st,
		Queryable:            st,
		Logger:               o.Logger,
		Registerer:           o.Registerer,
		OutageTolerance:      outageTolerance,
		ForGracePeriod:       forGracePeriod,
		ResendDelay:          o.ResendDelay,
		GroupLoader:          load,
		RestoreNewRuleGroups: true,
		Parser:               load.Parser,
	})
	return &Evaluator{
		manager: manager, loader: load, interval: o.Interval,
		external: o.ExternalLabels, url: o.ExternalURL.String(),
		stop: sync.OnceFunc(func() {
			defer time.AfterFunc(stopPatience, cancel).Stop()
			manager.Stop()
			cancel()
		}),
	}
}

// Update replaces the rules. Everything is read and parsed first: on an error, which names each fault, the
// old rules stay. Groups that did not change keep their state. Calls must not overlap. The goroutines that
// it starts end with Run; before Run, only the first call may change anything, since it waits for old groups.
func (e *Evaluator) Update(r Rules) error {
	var names []string
	var faults []error
	read := map[string]*rulefmt.RuleGroups{}
	load := func(name string, groups *rulefmt.RuleGroups, errs []error) {
		names, faults, read[name] = append(names, name), append(faults, errs...), groups
	}
	if r.Groups != nil {
		load(GeneratedFile, r.Groups, e.loader.check(r.Groups))
	}
	for _, file := range r.Files {
		if file == GeneratedFile {
			file = "./" + file
		}
		groups, errs := e.loader.read(file)
		load(file, groups, errs)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	e.loader.groups = read
	if err := e.manager.Update(e.interval, names, e.external, e.url, nil); err != nil {
		return fmt.Errorf("update rules: %w", err)
	}
	return nil
}

// Run evaluates until ctx is cancelled. It returns when the evaluations under way have ended. An Evaluator
// runs once.
func (e *Evaluator) Run(ctx context.Context) error {
	stopped := context.AfterFunc(ctx, e.stop) // its goroutine ends with the manager's Stop, which Run waits for
	defer stopped()
	e.manager.Run()
	return nil
}

// RuleGroups lists the groups as they are evaluated, with their state.
func (e *Evaluator) RuleGroups() []*rules.Group { return e.manager.RuleGroups() }

// AlertingRules lists the alerting rules with their active alerts.
func (e *Evaluator) AlertingRules() []*rules.AlertingRule { return e.manager.AlertingRules() }

// loader gives the rule manager the groups that Update has read, so that what is evaluated is what was checked,
// even where a file changes in between.
type loader struct {
	Parser parser.Parser
	groups map[string]*rulefmt.RuleGroups // by file; written by Update alone
}

// Load implements rules.GroupLoader.
func (l *loader) Load(identifier string, _ bool, _ model.ValidationScheme) (*rulefmt.RuleGroups, []error) {
	if groups, ok := l.groups[identifier]; ok {
		return groups, nil
	}
	return nil, []error{fmt.Errorf("%s was not read", identifier)}
}

// Parse implements rules.GroupLoader.
func (l *loader) Parse(query string) (parser.Expr, error) { return l.Parser.ParseExpr(query) }

func (l *loader) read(file string) (*rulefmt.RuleGroups, []error) {
	groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, l.Parser, slog.New(slog.DiscardHandler))
	var faults []error
	for _, err := range errs {
		faults = append(faults, placed(file, err)...)
	}
	return groups, faults
}

// check holds groups made in memory to all that a file must keep, by way of its text.
func (l *loader) check(groups *rulefmt.RuleGroups) []error {
	text, err := yaml.Marshal(groups)
	if err != nil {
		return []error{fmt.Errorf("write generated rules: %w", err)}
	}
	_, errs := rulefmt.Parse(text, false, model.UTF8Validation, l.Parser, slog.New(slog.DiscardHandler))
	for i, err := range errs {
		errs[i] = fmt.Errorf("generated rules: %w", err)
	}
	return errs
}

var (
	yamlLine  = regexp.MustCompile(`(?m)^\s*(?:.*yaml: )?line (\d+): (.*)$`)
	nodePlace = regexp.MustCompile(`^: (\d+:\d+: )`)
)

// placed puts the faults of a rule file at file:line each: upstream lists those of YAML over several lines, and
// parts the others from their file by a blank.
func placed(file string, err error) []error {
	text := strings.TrimPrefix(err.Error(), file)
	if place := nodePlace.FindStringSubmatch(text); place != nil {
		return []error{fmt.Errorf("%s:%s", file, text[len(": "):])}
	}
	var faults []error
	for _, m := range yamlLine.FindAllStringSubmatch(text, -1) {
		faults = append(faults, fmt.Errorf("%s:%s: %s", file, m[1], m[2]))
	}
	if faults == nil {
		return []error{err}
	}
	return faults
}

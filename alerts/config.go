package alerts

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
)

// maxConfigSize bounds a configuration file.
const maxConfigSize = 16 << 20

// Config says where alerts go and what is done to them on the way.
type Config struct {
	Endpoints []Endpoint
	// ExternalLabels are added to alerts that do not have them; Relabel then changes or drops alerts.
	ExternalLabels labels.Labels
	Relabel        []*relabel.Config
}

// Load reads the alerting section, and the external labels, of a file in Prometheus's own syntax. Alertmanagers are
// named one by one, by static_configs: discovery of them, and relabelling for one of them alone, are refused.
func Load(path string) (Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Config{}, fmt.Errorf("read alerting configuration: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfigSize {
		return Config{}, fmt.Errorf("read alerting configuration %s: not a regular file of at most %d MiB", path, maxConfigSize>>20)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read alerting configuration: %w", err)
	}
	cfg, err := config.Load(string(content), slog.New(slog.DiscardHandler))
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	cfg.SetDirectory(filepath.Dir(path))
	c := Config{ExternalLabels: cfg.GlobalConfig.ExternalLabels, Relabel: cfg.AlertingConfig.AlertRelabelConfigs}
	var errs []error
	for n, am := range cfg.AlertingConfig.AlertmanagerConfigs {
		endpoints, err := endpointsOf(am)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: alertmanagers[%d]: %w", path, n, err))
		}
		c.Endpoints = append(c.Endpoints, endpoints...)
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}
	return c, nil
}

// endpointsOf are the Alertmanagers that one entry of the section names.
func endpointsOf(am *config.AlertmanagerConfig) (endpoints []Endpoint, err error) {
	switch {
	case len(am.RelabelConfigs) > 0 || len(am.AlertRelabelConfigs) > 0:
		return nil, errors.New("relabelling for one Alertmanager is not done here: use alert_relabel_configs of the alerting section, which hold for all")
	case am.SigV4Config != nil:
		return nil, errors.New("sigv4 is not spoken here")
	}
	for _, d := range am.ServiceDiscoveryConfigs {
		static, ok := d.(discovery.StaticConfig)
		if !ok {
			return nil, fmt.Errorf("%s discovery of Alertmanagers is not done here: name each by static_configs", d.Name())
		}
		for _, group := range static {
			for _, target := range group.Targets {
				endpoints = append(endpoints, Endpoint{
					URL:  am.Scheme + "://" + string(target[model.AddressLabel]) + am.PathPrefix,
					HTTP: am.HTTPClientConfig, Timeout: time.Duration(am.Timeout),
				})
			}
		}
	}
	return endpoints, nil
}

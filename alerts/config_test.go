package alerts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/prometheus/prometheus/discovery/file" // as in the whole program, so that its key is known
)

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	for _, row := range []struct{ what, text, fault string }{
		{"all of it", `
global: {external_labels: {site: x}}
alerting:
  alert_relabel_configs: [{action: labeldrop, regex: replica}]
  alertmanagers:
  - {scheme: https, path_prefix: /am, timeout: 3s, basic_auth: {username: u, password_file: secret}, static_configs: [{targets: ['a:9093', 'b:9093']}]}
  - {static_configs: [{targets: ['c:9093']}]}
`, ""},
		{"a fault of YAML", "alerting:\n  alertmanagers: 3\n", file + ": "},
		{"an unknown key", "alerting: {alertmanager: []}\n", "alertmanager not found"},
		{"discovery", "alerting: {alertmanagers: [{file_sd_configs: [{files: [x.json]}]}]}\n", "alertmanagers[0]: file discovery of Alertmanagers is not done here: name each by static_configs"},
		{"relabelling for one", "alerting: {alertmanagers: [{alert_relabel_configs: [{action: labeldrop, regex: a}]}]}\n", "which hold for all"},
	} {
		t.Run(row.what, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(row.text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := Load(file)
			if row.fault != "" {
				if err == nil || !strings.Contains(err.Error(), row.fault) {
					t.Errorf("error %v, want %q", err, row.fault)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Endpoints) != 3 || c.Endpoints[1].URL != "https://b:9093/am" || c.Endpoints[2].URL != "http://c:9093" || c.Endpoints[0].Timeout != 3*time.Second {
				t.Errorf("endpoints %+v", c.Endpoints)
			}
			if got := c.Endpoints[0].HTTP.BasicAuth.PasswordFile; got != filepath.Join(filepath.Dir(file), "secret") {
				t.Errorf("the password file is not relative to the configuration: %s", got)
			}
			if c.ExternalLabels.String() != `{site="x"}` || len(c.Relabel) != 1 {
				t.Errorf("labels %s, %d rules", c.ExternalLabels, len(c.Relabel))
			}
		})
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
}

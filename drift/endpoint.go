package drift

import (
	"net/http"
)

// Endpoint is a running program that is asked over HTTP.
type Endpoint struct {
	// URL is where its pages are: http://prometheus:9090. A user name and password in it are used, and shown nowhere.
	URL string
	// Client asks; nil means one that waits ten seconds.
	Client *http.Client
}

// Routing adjusts the simulation of Alertmanager's routes. The zero value works.
type Routing struct {
	// Tenants are the values of the tenant label to try; none means one that stands for any.
	Tenants []string
}

// Route is what becomes of one tier's alert for one tenant: who is told, how it is grouped, and when nobody is.
type Route struct {
	Service   string   `json:"service"`
	SLO       string   `json:"slo"`
	Tier      string   `json:"tier"`
	Severity  string   `json:"severity"`
	Tenant    string   `json:"tenant,omitempty"` // empty where the SLO has no tenants or any tenant takes this route
	Receivers []string `json:"receivers"`        // in the order of the routes
	Paged     bool     `json:"paged"`            // some receiver tells somebody
	Why       string   `json:"why,omitempty"`    // why nobody is told, or when nobody is
	GroupBy   []string `json:"groupBy,omitempty"`
	GroupWait string   `json:"groupWait,omitempty"`
	Repeat    string   `json:"repeat,omitempty"`
	Inhibited []string `json:"inhibitedBy,omitempty"` // tiers of the same SLO that silence this one
	File      string   `json:"file"`
	Line      int      `json:"line,omitempty"`
}

// Deployment is how a Prometheus is run, as far as files say. The zero value knows nothing of it.
type Deployment struct {
	// Compose are the Compose files in which the service of a Prometheus stands: its command line says how long
	// samples are kept, its mounts where rule files are.
	Compose []string
}

package drift

import (
	"context"
	"errors"

	"github.com/slowburn/slowburn/slo"
)

// AlertmanagerAt does for a running Alertmanager, by the configuration it has loaded, what AlertmanagerFile does for
// a file.
func AlertmanagerAt(ctx context.Context, c Contract, e Endpoint, r Routing) (Report, []Route) {
	a, err := ask(e)
	if err != nil {
		return unreadAlertmanager(c, &fault{slo.Position{File: a.name}, err})
	}
	where := a.name + "/api/v2/status"
	var answer struct {
		Config *struct {
			Original string `json:"original"`
		} `json:"config"`
	}
	err = a.json(ctx, "/api/v2/status", "", &answer)
	if err == nil && answer.Config == nil {
		err = errors.New("its answer has no configuration: it is no Alertmanager")
	}
	if err != nil {
		return unreadAlertmanager(c, &fault{slo.Position{File: where}, err})
	}
	return routesOf(c, where, []byte(answer.Config.Original), r)
}

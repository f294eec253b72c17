package drift

// The findings of this half of the package; docs/findings.md explains them.
const (
	ruleUncontracted = "SB058" // a Compose service without a contract
	ruleServiceless  = "SB059" // a contract whose service Compose does not have

	ruleDiffers     = "SB070" // a deployed rule means something else
	ruleMissing     = "SB071" // a rule of the contract is not deployed
	ruleOrphan      = "SB072" // a deployed rule whose contract is gone
	ruleUnreadRules = "SB073" // rules that can't be read
	ruleUnreadProm  = "SB074" // Prometheus's configuration can't be read, or it can't be asked
	ruleUnscraped   = "SB075" // a service with a contract is not scraped
	ruleInterval    = "SB076" // an interval too long for the windows
	ruleRetention   = "SB077" // samples are dropped before the SLO's window ends
	ruleUnsent      = "SB078" // alerts go to no Alertmanager, or under other labels
	ruleFaulty      = "SB079" // a rule that can't work

	ruleUnreadAM    = "SB080" // Alertmanager's configuration can't be read, or it can't be asked
	ruleUnpaged     = "SB081" // nobody is told of an alert
	ruleInhibited   = "SB082" // a page is silenced by a slower tier
	ruleUninhibited = "SB083" // one incident pages several times
	ruleMuted       = "SB084" // a page is muted at times
	ruleDeprecated  = "SB085" // routes in a form that Alertmanager will drop

	ruleRuntime = "SB090" // a running service holds another objective, or does not answer
)

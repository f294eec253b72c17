package slo

// Rule is a kind of finding. Its ID is stable: suppressions, SARIF and CI settings name it.
type Rule struct {
	ID          string
	Title       string
	Explanation string
	Remedy      string
	Severity    Severity
}

// Rules lists every kind of finding by ID. SB001 to SB039 are about contracts, SB040 to SB059 about the
// topology, SB060 and up about all else.
func Rules() []Rule {
	return []Rule{
		{"SB001", "declaration breaks the grammar", "A tag is not written as `@SLO [name] key=value …`, or the file around a declaration has a syntax error that hides it.", "mend the syntax at this place", Error},
		{"SB002", "no target", "A declaration without a target promises nothing, and no other declaration of the same SLO names one.", "add target, such as 0.995 or '99.5%'", Error},
		{"SB003", "value can't be resolved", "A value is known at run time only, comes from outside the scanned directory, is assigned again, or has no default beside an environment variable. slowburn does not guess.", "write a literal, a constant or an enum member, or give the environment variable a default", Error},
		{"SB004", "value is ambiguous", "The sources allow several values and do not say which one holds.", "write one value, or declare one SLO for each", Error},
		{"SB005", "value of the wrong kind", "A value is of a type that its key can't have.", "write what the key expects", Error},
		{"SB006", "target out of range", "A target is a share inside (0, 1). A percentage carries its sign: a bare 99.5 is not read as one.", "write a share such as 0.995 or a percentage such as 99.5%", Error},
		{"SB007", "threshold can't fire", "A burn rate at or above 1/(1 − target) is more than a total outage burns, so that the alert can never fire; or the threshold is not a positive number.", "write a threshold below the burn rate of a total outage", Error},
		{"SB008", "threshold below the budget", "A burn rate below 1 fires on a service that keeps its promise.", "write a burn rate of at least 1, or the error ratio that equals it", Warning},
		{"SB009", "unknown key", "A declaration has a key that means nothing here; most often it is misspelt.", "write one of the known keys", Error},
		{"SB010", "recording rule without a window", "recordingRules name the windows to record, by the end of each name. A name that ends in none adds nothing.", "end the name in a window, such as error_budget:burn_rate:5m", Warning},
		{"SB011", "declarations disagree", "Two declarations of one SLO of one service say different things.", "make both say the same, or give one of them another name", Error},
		{"SB012", "options taken in unseen", "The options spread an object that can't be resolved. What stands after it is certain; whether it says more is not.", "spread a constant object, or list the keys", Warning},
		{"SB013", "options passed through", "A factory or a subclass hands its own parameter on as options, so that the SLO is decided by its callers.", "declare the SLO where its values are written, by a tag or a decorator", Error},
		{"SB014", "indicator incomplete", "The metrics that a declaration names do not make an indicator.", "give errors and total, or metric and threshold", Error},
		{"SB015", "service unknown", "No Compose service builds from the file, no package.json above it has a name, and the declaration names no service.", "add service to the declaration, or a name to package.json", Error},
		{"SB016", "window can't be read", "The SLO's period is no duration.", "write a whole number with s, m, h, d or w, such as 30d", Error},
		{"SB020", "file too large", "The file may hold a declaration and is larger than slowburn reads.", "exclude it by .gitignore if it is built, or split it", Error},
		{"SB021", "file nests too deep", "The file may hold a declaration and nests deeper than the parser can follow.", "exclude it by .gitignore if it is built, or move the declaration elsewhere", Error},
		{"SB022", "file can't be read", "The file or folder is in the tree and can't be opened.", "give the user who runs slowburn the right to read it, or exclude it by .gitignore", Warning},
		{"SB023", "file is no text", "The file may hold a declaration and is neither UTF-8 nor UTF-16 with a byte order mark.", "save it as UTF-8", Error},
		{"SB024", "link leaves the directory", "A symbolic link leads out of the scanned directory. Nothing outside is read.", "scan the directory that holds both, or exclude the link by .gitignore", Warning},
		{"SB025", "project file can't be read", "A tsconfig.json or package.json that imports depend on can't be read, so that some imports stay unresolved.", "mend the file", Warning},
		{"SB030", "suppression without effect", "A slowburn-ignore comment needs rule ids and, behind a colon, a reason.", "write slowburn-ignore SB003: why it is right here", Warning},
		{"SB040", "no Compose file", "The directory holds no Compose file by a default name, or holds two, of which one is read.", "name the Compose files to read", Note},
		{"SB041", "file can't be read", "A Compose file, an env file or a label file is missing, unreadable, not a regular file, or larger than 1 MiB.", "correct the name or the file", Error},
		{"SB042", "YAML can't be accepted", "The file is not YAML, has a key twice, nests deeper than 100 levels, has an alias inside its own anchor, or grows past 50,000 nodes once aliases are written out.", "mend the YAML at this place", Error},
		{"SB043", "reference leaves the directory", "An include, extends, env file, label file, build context, Dockerfile or symbolic link leads out of the scanned directory, or to a network. Nothing outside is read.", "move the file inside, or scan the directory that holds both", Error},
		{"SB044", "required variable is missing", "A ${NAME:?message} has no value, or a ${…} is malformed.", "set the variable in the environment or in .env; a literal dollar is written $$", Error},
		{"SB045", "variable is not set", "A variable without a default is not set; Compose reads it as empty.", "set it, or write ${NAME:-default}", Warning},
		{"SB046", "Compose refuses the file", "The file breaks the Compose specification: an unknown key, a wrong type, an undefined service or network, a cycle.", "correct it as the Compose specification says", Error},
		{"SB047", "Dockerfile can't be read", "A build context or Dockerfile is missing or malformed, so that the base image is unknown.", "correct build.context or build.dockerfile, or the Dockerfile", Warning},
		{"SB048", "base image is unknown", "A FROM depends on an ARG without a value, or build.target names no stage.", "set build.args or build.target", Warning},
		{"SB049", "scrape target is unknown", "A service has no port, or several, and no label says which one serves metrics.", "set the label slowburn.port, or slowburn.scrape: \"false\"", Note},
		{"SB050", "label can't be used", "A label slowburn.* or prometheus.io/* has a value that means nothing.", "write what the message asks for", Warning},
		{"SB051", "service is left out", "None of the service's profiles is active.", "activate one with --profile to count it in", Note},
		{"SB052", "source directory is shared", "Several services are built from one directory, so that a contract directly in it belongs to none of them.", "give them one name with the label slowburn.service, or each its own directory with slowburn.source", Note},
		{"SB053", "runtime version can't be read", "A package.json, .nvmrc or .node-version that would name the version of Node can't be used.", "mend the file", Warning},
		{"SB054", "Docker engine can't be asked", "The engine is absent, denies access, hangs or answers nonsense. What runs is not compared with what is declared.", "start the engine, or name its socket", Warning},
		{"SB055", "service does not run", "A service is declared, and no container of it runs.", "start it: docker compose up -d", Warning},
		{"SB056", "service is not declared", "A container of this Compose project runs a service that no Compose file declares.", "declare it, or remove it: docker compose up --remove-orphans", Warning},
		{"SB057", "image differs", "A container runs another image than its service declares.", "recreate it: docker compose up -d", Warning},
		{"SB063", "tier can't fire", "The burn rate of a policy's tier lies at or above 1/(1 − target), which is what a total outage burns, so that its alert can never fire. At a target of 90% nothing burns faster than 10 times.", "write a burnRateThreshold below the burn rate of a total outage, or a policy with lower ones", Error},
		{"SB110", "alert can't fire", "The threshold of the alert lies at or above what a total outage yields.", "lower the threshold below the burn rate of a total outage", Error},
		{"SB111", "sides don't match", "The two sides of an and never carry the same labels, so that the alert is always empty.", "write and ignoring (…), or give both sides the same labels", Error},
		{"SB112", "recording is missing", "An alert reads a recorded series that no rule records and no history holds.", "add the recording rule, or correct the name", Error},
		{"SB113", "metric is missing", "A rule reads series that the history does not hold, with those labels.", "correct the selector, or scrape the service", Error},
		{"SB114", "outage does not fire the alert", "An outage put onto real history did not make the alert fire.", "lower the threshold, or minFailures for tenants of little traffic", Error},
		{"SB115", "budget burns unseen", "When the history ended, a budget was burning faster than the SLO's period allows, and no tier alerts on so little.", "find what fails, or add the tiers that open tickets: policy sre", Warning},
		{"SB116", "replay holds the alert", "Replayed over history the alert pages too often, misses an incident, or fires most of the time.", "change the threshold: slowburn backtest --search proposes one", Warning},
		{"SB117", "too many series", "The forecast of scraped and recorded series is above --max-series.", "drop what the forecast says nothing reads", Error},
		{"SB118", "rule can't be evaluated", "The engine gives up on a rule over the series that are there.", "shorten its window, or record its parts", Error},
		{"SB119", "nobody is told", "No rule file or Alertmanager route carries the alert of this SLO to a receiver.", "load the rules, and route their labels to a receiver", Error},
		{"SB120", "more pages", "The change brings more new pages over the history than --max-new-pages allows.", "raise the thresholds, or allow the pages", Error},
		{"SB121", "fewer incidents found", "The share of incidents that the alerts find is below --min-recall.", "lower the thresholds that miss them", Error},
		{"SB122", "too much drift", "The share of compared facts that differ is above --max-drift.", "mend the deployed configuration, or the contract", Error},
		{"SB123", "input could not be checked", "Something that was named or found could not be read or asked, so that nothing was compared with it. That never counts as the same.", "mend or remove the input", Error},
		{"SB124", "revision is not whole", "The contract of the base revision has errors, so that what it alerted on is told in part.", "compare with a revision whose contract is sound", Warning},
		{"SB125", "history is short", "The history is too short for some window, so that what could not be tried says untried.", "give a longer history", Note},
		{"SB126", "no failure seen", "The history holds all events of the SLO and none that matches its errors: it never failed, or the selector is wrong.", "look at the values of the label that the selector matches", Note},
	}
}

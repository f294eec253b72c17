import { Gauge, register } from 'prom-client';
import { ContractError, type AnyRegistry, type Contract } from './contract.js';
import { DurationHistogram, EventCounter, PooledCounter } from './metrics.js';
import { defaults, pooledTenant, signals } from './signals.js';

/** Longer tenants are pooled: a label value comes from outside and is kept for as long as the process runs. */
const longestTenant = 256;

/** Bounds in seconds, to which an SLO adds its threshold. */
const commonBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** What one tenant has spent of one SLO's budget. Both counts exist from the tenant's first sight. */
export class Account {
  good = 0;
  bad = 0;
  seconds = 0;
  /** Events by bucket, not yet cumulated; the last bucket has no upper bound. */
  buckets = new Float64Array();

  constructor(readonly tenant: string) {}
}

/** The accounts of one SLO. All instruments of that SLO in one registry share it. */
export class Budget {
  readonly name: string;
  readonly target: number;
  readonly accounts = new Map<string, Account>();
  /** Upper bounds of the buckets in seconds, ascending; none for an availability SLO. */
  bounds: readonly number[] = [];
  /** Events counted under the pooled tenant. */
  pooled = 0;
  private named = 0;
  private threshold = Infinity;
  private maxTenants: number = defaults.maxTenants;
  private readonly stated = new Map<string, string>();
  private readonly agreed = new WeakSet<Contract>();

  constructor({ name, target }: Contract) {
    this.name = name;
    this.target = target;
  }

  /** Whether the SLO is about durations. */
  get timed(): boolean {
    return this.threshold !== Infinity;
  }

  /** Takes in a declaration of the SLO. What it states beside a former one must be the same. */
  agree(contract: Contract): void {
    if (this.agreed.has(contract)) return;
    const faults: string[] = [];
    for (const [key, value] of contract.stated) {
      const former = this.stated.get(key);
      if (former !== undefined && former !== value) faults.push(`is declared twice and differs: ${key} ${former} and ${value}`);
    }
    if (faults.length > 0) throw new ContractError(this.name, faults);
    for (const [key, value] of contract.stated) this.stated.set(key, value);
    this.maxTenants = contract.maxTenants ?? this.maxTenants;
    if (contract.threshold !== undefined && !this.timed) this.time(contract.threshold / 1000);
    this.agreed.add(contract);
  }

  /** Opens a tenant's account at zero, so that a rate over it works from its first event. */
  open(tenant: string): Account {
    const known = this.accounts.get(tenant);
    if (known !== undefined) return known;
    const full = tenant !== '' && this.named >= this.maxTenants;
    if (full || tenant.length > longestTenant) return this.accounts.get(pooledTenant) ?? this.add(pooledTenant);
    if (tenant !== '') this.named++;
    return this.add(tenant);
  }

  /** Counts one event. */
  count(tenant: string, ok: boolean, seconds: number): void {
    let account = this.accounts.get(tenant);
    if (account === undefined) {
      account = this.open(tenant);
      if (account.tenant !== tenant) this.pooled++;
    }
    if (this.timed) this.observe(account, seconds);
    if (ok && seconds <= this.threshold) account.good++;
    else account.bad++;
  }

  /** The accounts that are exported. That of no tenant goes, unused, once there are tenants. */
  *exported(): Iterable<Account> {
    for (const account of this.accounts.values()) {
      if (account.tenant !== '' || account.good + account.bad > 0 || this.accounts.size === 1) yield account;
    }
  }

  /** Sets every count to zero. The tenants stay known. */
  reset(): void {
    this.pooled = 0;
    for (const account of this.accounts.values()) {
      account.good = account.bad = account.seconds = 0;
      account.buckets.fill(0);
    }
  }

  /** Begins to time events, with a bucket that ends at the threshold. */
  private time(threshold: number): void {
    this.threshold = threshold;
    this.bounds = [...new Set([...commonBounds, threshold])].sort((a, b) => a - b);
    for (const account of this.accounts.values()) account.buckets = new Float64Array(this.bounds.length + 1);
  }

  private observe(account: Account, seconds: number): void {
    const { bounds } = this;
    let bucket = 0;
    while (bucket < bounds.length && seconds > (bounds[bucket] as number)) bucket++;
    account.buckets[bucket] = (account.buckets[bucket] as number) + 1;
    account.seconds += seconds;
  }

  private add(tenant: string): Account {
    const account = new Account(tenant);
    if (this.timed) account.buckets = new Float64Array(this.bounds.length + 1);
    this.accounts.set(tenant, account);
    return account;
  }
}

/**
 * The budgets of one registry, and the metrics that show them. An event costs an addition; the metrics are put
 * together when they are read.
 */
export class Ledger {
  private readonly budgets = new Map<string, Budget>();
  private readonly events: EventCounter;

  constructor(registry: AnyRegistry) {
    const { budgets } = this;
    const registers = [registry];
    this.events = new EventCounter({ ...signals.events, registers });
    this.events.budgets = budgets;
    new DurationHistogram({ ...signals.durations, registers }).budgets = budgets;
    new PooledCounter({ ...signals.pooled, registers }).budgets = budgets;
    new Gauge({
      ...signals.objective,
      registers,
      aggregator: 'first', // summed over a cluster's workers it would mean nothing
      collect() {
        for (const { name, target } of budgets.values()) this.set({ slo: name }, target);
      },
    });
  }

  /** Finds or makes the budget of a contract's SLO. */
  budget(contract: Contract): Budget {
    let budget = this.budgets.get(contract.name);
    if (budget === undefined) {
      budget = new Budget(contract);
      this.budgets.set(contract.name, budget);
    }
    budget.agree(contract);
    return budget;
  }

  /** Whether the registry still shows this ledger: it does not after registry.clear(). */
  isIn(registry: AnyRegistry): boolean {
    return registry.getSingleMetric(signals.events.name) === this.events;
  }
}

/**
 * One ledger per registry, also where the package is loaded twice, as an ES module and as CommonJS: the table
 * hangs on globalThis. The number is that of the ledger's form.
 */
const tableKey = Symbol.for('@slowburn/instrument/ledgers/1');

/** Finds or makes the ledger of a registry. */
export function ledgerOf(registry: AnyRegistry = register): Ledger {
  const holder = globalThis as { [tableKey]?: WeakMap<AnyRegistry, Ledger> };
  const ledgers = (holder[tableKey] ??= new WeakMap());
  let ledger = ledgers.get(registry);
  if (ledger === undefined || !ledger.isIn(registry)) {
    ledger = new Ledger(registry);
    ledgers.set(registry, ledger);
  }
  return ledger;
}

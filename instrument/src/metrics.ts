import { Counter, Histogram, type Aggregator, type MetricType } from 'prom-client';
import type { Account, Budget } from './ledger.js';
import { outcomes, signals } from './signals.js';

/** What the metrics of one registry show, by SLO. */
type Budgets = ReadonlyMap<string, Budget>;

/** Shows how many events went well and how many did not. */
export class EventCounter extends Counter<'slo' | 'tenant' | 'outcome'> {
  // Declared only: prom-client's constructor calls reset before a field of ours could be set.
  declare budgets?: Budgets;

  override async get() {
    const values = [];
    for (const { name: slo, account } of accountsOf(this.budgets)) {
      const { tenant, good, bad } = account;
      values.push({ labels: { slo, tenant, outcome: outcomes.good }, value: good });
      values.push({ labels: { slo, tenant, outcome: outcomes.bad }, value: bad });
    }
    return { ...(await super.get()), values };
  }

  /** Sets every account to zero: the one reset for all metrics of the registry. */
  override reset(): void {
    super.reset();
    for (const budget of this.budgets?.values() ?? []) budget.reset();
  }
}

/** Shows how many events were counted under the pooled tenant. */
export class PooledCounter extends Counter<'slo'> {
  declare budgets?: Budgets;

  override async get() {
    const budgets = [...(this.budgets?.values() ?? [])];
    const values = budgets.map(({ name, pooled }) => ({ labels: { slo: name }, value: pooled }));
    return { ...(await super.get()), values };
  }
}

/** Shows the durations of latency SLOs. Each SLO has buckets of its own, which no histogram of prom-client allows. */
export class DurationHistogram extends Histogram<'slo' | 'tenant'> {
  declare budgets?: Budgets;

  override async get() {
    const values = [];
    for (const { name, bounds, account } of accountsOf(this.budgets)) {
      if (bounds.length > 0) values.push(...samplesOf(name, bounds, account));
    }
    const { name, help } = signals.durations;
    return { name, help, type: histogram, aggregator, collect, values };
  }

  /** What prom-client calls in place of get when it writes text; its types don't say so. */
  async getForPromString() {
    return this.get();
  }
}

// At run time a type is a word; prom-client's types say it is a number.
const histogram = 'histogram' as unknown as MetricType;
const aggregator: Aggregator = 'sum';
const collect = (): void => {};

function samplesOf(slo: string, bounds: readonly number[], { tenant, buckets, seconds }: Account) {
  const { name } = signals.durations;
  const values = [];
  let count = 0;
  for (const [index, events] of buckets.entries()) {
    count += events;
    values.push({ metricName: `${name}_bucket`, labels: { le: bounds[index] ?? '+Inf', slo, tenant }, value: count });
  }
  values.push({ metricName: `${name}_sum`, labels: { slo, tenant }, value: seconds });
  values.push({ metricName: `${name}_count`, labels: { slo, tenant }, value: count });
  return values;
}

interface Entry {
  readonly name: string;
  readonly bounds: readonly number[];
  readonly account: Account;
}

function* accountsOf(budgets: Budgets | undefined): Iterable<Entry> {
  for (const budget of budgets?.values() ?? []) {
    for (const account of budget.exported()) yield { name: budget.name, bounds: budget.bounds, account };
  }
}

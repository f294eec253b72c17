/**
 * What this package emits. The list that both languages test themselves against is fixtures/signals.json;
 * test/signals.test.ts holds these constants to it.
 */
export const signals = {
  events: {
    name: 'error_budget_events_total',
    help: 'Events that an SLO counts, by tenant and outcome.',
    labelNames: ['slo', 'tenant', 'outcome'],
  },
  durations: {
    name: 'error_budget_event_duration_seconds',
    help: "Durations of the events of latency SLOs, with a bucket that ends at the SLO's threshold.",
    labelNames: ['slo', 'tenant'],
  },
  objective: {
    name: 'error_budget_objective_ratio',
    help: 'Share of good events that the running code promises.',
    labelNames: ['slo'],
  },
  pooled: {
    name: 'error_budget_pooled_events_total',
    help: 'Events counted under the pooled tenant, because the SLO had reached its number of tenants.',
    labelNames: ['slo'],
  },
} as const;

/** The values of the outcome label. */
export const outcomes = { good: 'good', bad: 'bad' } as const;

/** The tenant label of every tenant beyond maxTenants. */
export const pooledTenant = 'other';

/** What an SLO is that states nothing else. */
export const defaults = { availability: 'availability', latency: 'latency', maxTenants: 1000 } as const;

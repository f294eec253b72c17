import { AggregatorRegistry, Counter, register, Registry, type OpenMetricsContentType } from 'prom-client';
import { afterEach, expect, test } from 'vitest';
import { ContractError, ErrorBudgetInstrument, type Event, type SLOOptions } from '../src/index.js';
import { outcomesOf, samples } from './exposition.js';

afterEach(() => { register.clear(); });

/** A registry of its own, with an instrument in it. */
function given(options: Partial<SLOOptions> = {}) {
  const registry = new Registry();
  return { registry, budget: new ErrorBudgetInstrument({ target: 0.995, registry, ...options } as SLOOptions) };
}

test('events are counted by tenant and outcome', async () => {
  const { registry, budget } = given();
  budget.record({ ok: true, tenant: 'acme' });
  budget.record({ ok: true, tenant: 'acme', durationMs: 12 });
  budget.record({ ok: false, tenant: 'globex' });
  expect(await outcomesOf(registry)).toEqual({ acme: '2/0', globex: '0/1' });
});

test('both outcomes of a tenant start at zero when it is first seen', async () => {
  const { registry, budget } = given({ tenantId: 'acme' });
  expect(await outcomesOf(registry)).toEqual({ acme: '0/0' });
  budget.seed('globex', 'initech', 'globex');
  budget.record({ ok: true, tenant: 'globex' });
  expect(await outcomesOf(registry)).toEqual({ acme: '0/0', globex: '1/0', initech: '0/0' });
});

test('without tenants the tenant label is empty, and leaves once there are tenants', async () => {
  const { registry, budget } = given();
  expect(await outcomesOf(registry)).toEqual({ '-': '0/0' });
  budget.seed('acme');
  expect(await outcomesOf(registry)).toEqual({ acme: '0/0' });
  budget.record({ ok: false });
  expect(await outcomesOf(registry)).toEqual({ '-': '0/1', acme: '0/0' });
});

test('an instrument made for each request counts with its siblings', async () => {
  const registry = new Registry();
  for (const context of [{ tenantId: 'acme' }, { tenantId: 'globex' }, { tenantId: 'acme' }]) {
    const errorBudget = new ErrorBudgetInstrument({
      sloTarget: 0.995,
      burnRateThreshold: 0.08,
      tenantId: context.tenantId,
      recordingRules: ['error_budget:burn_rate:5m'],
      registry,
    });
    errorBudget.record({ ok: context.tenantId === 'acme' });
  }
  expect(await outcomesOf(registry)).toEqual({ acme: '2/0', globex: '0/1' });
});

test('tenants beyond maxTenants are pooled, and their events counted', async () => {
  const { registry, budget } = given({ maxTenants: 2 });
  for (const tenant of ['acme', 'globex', 'initech', 'hooli', 'acme']) budget.record({ ok: true, tenant });
  budget.record({ ok: false, tenant: 'initech' });
  expect(await outcomesOf(registry)).toEqual({ acme: '2/0', globex: '1/0', other: '2/1' });
  expect(await samples(registry, 'error_budget_pooled_events_total')).toEqual({ availability: 3 });
});

test('by default a thousand tenants are counted apart', async () => {
  const { registry, budget } = given();
  for (let index = 0; index < 1100; index++) budget.record({ ok: true, tenant: `t${index}` });
  const found = await outcomesOf(registry);
  expect(Object.keys(found)).toHaveLength(1001);
  expect(found['other']).toBe('100/0');
});

test('a tenant that is called as the pool is shares its series', async () => {
  const { registry, budget } = given({ maxTenants: 2 });
  for (const tenant of ['other', 'acme', 'globex']) budget.record({ ok: true, tenant });
  expect(await outcomesOf(registry)).toEqual({ other: '2/0', acme: '1/0' });
  expect(await samples(registry, 'error_budget_pooled_events_total')).toEqual({ availability: 1 });
});

test('a tenant too long for a label is pooled', async () => {
  const { registry, budget } = given();
  budget.record({ ok: true, tenant: 'x'.repeat(257) });
  budget.record({ ok: true, tenant: 'y'.repeat(256) });
  expect(await outcomesOf(registry)).toEqual({ other: '1/0', ['y'.repeat(256)]: '1/0' });
});

test('a tenant with quotes and line ends leaves the text format whole', async () => {
  const { registry, budget } = given();
  budget.record({ ok: true, tenant: 'a"b\\c\nd' });
  expect(await registry.metrics()).toContain(String.raw`tenant="a\"b\\c\nd",outcome="good"} 1`);
});

test('the objective is exported', async () => {
  const { registry, budget } = given({ target: '99.5%' });
  expect(await samples(registry, 'error_budget_objective_ratio')).toEqual({ availability: 0.995 });
  expect([budget.name, budget.target, budget.budget]).toEqual(['availability', 0.995, 0.005]);
});

test('prom-client\'s own registry is the default', async () => {
  new ErrorBudgetInstrument({ target: 0.995, tenantId: 'acme' }).record({ ok: true });
  expect(await outcomesOf(register)).toEqual({ acme: '1/0' });
});

test('declarations of one SLO that differ are refused, and say in what', () => {
  const { registry } = given({ window: '30d', burnRateThreshold: 0.072 });
  const again = (options: Partial<SLOOptions>) => () => new ErrorBudgetInstrument({ target: 0.995, registry, ...options } as SLOOptions);
  expect(again({ burnRateThreshold: '14.4x', window: '4w2d' })).not.toThrow();
  expect(again({ target: 0.99 })).toThrow(ContractError);
  expect(again({ target: 0.99 })).toThrow('SLO availability: is declared twice and differs: target 0.995 and 0.99');
  expect(again({ burnRateThreshold: 10 })).toThrow(/differs: burnRateThreshold 14.4x and 10x/);
  expect(again({ target: 0.99, name: 'checkout' })).not.toThrow();
});

test('a later declaration may state what a former one left open', async () => {
  const { registry, budget } = given({ name: 'latency' });
  budget.record({ ok: true, tenant: 'acme' });
  const second = new ErrorBudgetInstrument({ target: 0.995, name: 'latency', threshold: '300ms', maxTenants: 1, registry });
  second.record({ durationMs: 400, tenant: 'acme' });
  budget.record({ durationMs: 100, tenant: 'globex' });
  expect(await outcomesOf(registry, 'latency')).toEqual({ acme: '1/1', other: '1/0' });
  expect((await samples(registry, 'error_budget_event_duration_seconds_bucket'))['0.3 latency acme']).toBe(0);
});

test('a latency SLO counts what is slow or failed as bad, and has a bucket at its threshold', async () => {
  const { registry, budget } = given({ threshold: '300ms' });
  const events: Event[] = [{ durationMs: 300 }, { durationMs: 300.1 }, { ok: true, durationMs: 2 }, { ok: false, durationMs: 2 }];
  for (const event of events) budget.record({ ...event, tenant: 'acme' });
  expect(await outcomesOf(registry, 'latency')).toEqual({ acme: '2/2' });
  const buckets = await samples(registry, 'error_budget_event_duration_seconds_bucket');
  expect([buckets['0.25 latency acme'], buckets['0.3 latency acme'], buckets['0.5 latency acme'], buckets['+Inf latency acme']]).toEqual([2, 3, 4, 4]);
  expect(await samples(registry, 'error_budget_event_duration_seconds_count')).toEqual({ 'latency acme': 4 });
});

test('two latency SLOs of one registry have each a bucket of their own', async () => {
  const { registry } = given({ name: 'fast', threshold: '123ms' });
  new ErrorBudgetInstrument({ name: 'slow', target: 0.9, threshold: '45s', registry });
  const buckets = Object.keys(await samples(registry, 'error_budget_event_duration_seconds_bucket'));
  expect(buckets.filter((key) => /^(0\.123|45) /.test(key))).toEqual(['0.123 fast -', '45 slow -']);
});

test('a threshold that is a common bound makes no second bucket of it', async () => {
  const { registry } = given({ threshold: '250ms' });
  const text = await registry.metrics();
  expect(text.match(/le="0.25"/g)).toHaveLength(1);
});

test('what an event lacks is told', () => {
  const loose = (event: unknown): Event => event as Event;
  const { budget } = given();
  expect(() => { budget.record({}); }).toThrow('SLO availability: event without ok');
  expect(() => { budget.record(loose({ ok: 'yes' })); }).toThrow(TypeError);
  const { budget: latency } = given({ threshold: '1s' });
  expect(() => { latency.record({ ok: true }); }).toThrow('SLO latency: event without durationMs');
  expect(() => { latency.record({ durationMs: Number.NaN }); }).toThrow(TypeError);
});

test('a clock that was set back spends nothing', async () => {
  const { registry, budget } = given({ threshold: '1s' });
  budget.record({ durationMs: -5000 });
  expect(await samples(registry, 'error_budget_event_duration_seconds_sum')).toEqual({ 'latency -': 0 });
});

test('resetMetrics sets every count to zero and keeps the tenants', async () => {
  const { registry, budget } = given({ threshold: '1s', maxTenants: 1 });
  for (const tenant of ['acme', 'globex']) budget.record({ durationMs: 2000, tenant });
  registry.resetMetrics();
  expect(await outcomesOf(registry, 'latency')).toEqual({ acme: '0/0', other: '0/0' });
  expect(await samples(registry, 'error_budget_event_duration_seconds_count')).toEqual({ 'latency acme': 0, 'latency other': 0 });
  expect(await samples(registry, 'error_budget_pooled_events_total')).toEqual({ latency: 0 });
  expect(await samples(registry, 'error_budget_objective_ratio')).toEqual({ latency: 0.995 });
});

test('a registry that was cleared starts anew', async () => {
  const { registry, budget } = given({ tenantId: 'acme' });
  budget.record({ ok: true });
  registry.clear();
  new ErrorBudgetInstrument({ target: 0.9, tenantId: 'globex', registry });
  expect(await outcomesOf(registry)).toEqual({ globex: '0/0' });
});

test('a metric of that name that is not ours is not taken over', () => {
  const registry = new Registry();
  new Counter({ name: 'error_budget_events_total', help: 'x', registers: [registry] });
  expect(() => new ErrorBudgetInstrument({ target: 0.9, registry })).toThrow(/already been registered/);
});

test('OpenMetrics registries work', async () => {
  const registry = new Registry<OpenMetricsContentType>();
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  const budget = new ErrorBudgetInstrument({ target: 0.9, registry, tenantId: 'acme' });
  budget.record({ ok: false });
  await registry.metrics();
  new ErrorBudgetInstrument({ target: 0.9, registry, tenantId: 'acme' }).record({ ok: false });
  const text = await registry.metrics();
  expect(text).toContain('# TYPE error_budget_events counter');
  expect(text).toContain('error_budget_events_total{slo="availability",tenant="acme",outcome="bad"} 2');
});

test('default labels are added', async () => {
  const { registry } = given({ tenantId: 'acme', threshold: '1s' });
  registry.setDefaultLabels({ region: 'eu' });
  expect(await registry.metrics()).toContain('error_budget_events_total{slo="latency",tenant="acme",outcome="good",region="eu"} 0');
});

test('the workers of a cluster add up, but not their objectives', async () => {
  const workers = [given({ tenantId: 'acme', threshold: '1s' }), given({ tenantId: 'acme', threshold: '1s' })];
  for (const { budget } of workers) budget.record({ durationMs: 10 });
  const metrics = await Promise.all(workers.map(({ registry }) => registry.getMetricsAsJSON()));
  const all = AggregatorRegistry.aggregate(metrics);
  expect(await outcomesOf(all, 'latency')).toEqual({ acme: '2/0' });
  expect(await samples(all, 'error_budget_objective_ratio')).toEqual({ latency: 0.995 });
  expect(await samples(all, 'error_budget_event_duration_seconds_count')).toEqual({ 'latency acme': 2 });
});

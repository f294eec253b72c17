// What an event costs, beside the counter of prom-client that one would write by hand. `npm run bench`.
// Each row is the median of seven runs, in nanoseconds per call. Fails where record costs over 1 µs more.
import { Counter, Registry } from 'prom-client';
import { ErrorBudgetInstrument } from '@slowburn/instrument';

const calls = 500_000;
const tenants = Array.from({ length: 100 }, (_, index) => `tenant-${index}`);

function measure(call) {
  const runs = [];
  for (let run = 0; run < 8; run++) {
    globalThis.gc?.();
    const begun = process.hrtime.bigint();
    for (let index = 0; index < calls; index++) call(index);
    runs.push(Number(process.hrtime.bigint() - begun) / calls);
  }
  return runs.slice(1).sort((a, b) => a - b)[3]; // the first run warms up
}

const registry = new Registry();
const bare = new Counter({ name: 'events_total', help: 'x', registers: [registry] });
const labelled = new Counter({ name: 'labelled_events_total', help: 'x', labelNames: ['slo', 'tenant', 'outcome'], registers: [registry] });
const availability = new ErrorBudgetInstrument({ target: 0.995, registry });
const latency = new ErrorBudgetInstrument({ target: 0.995, threshold: '300ms', registry });
const pooled = new ErrorBudgetInstrument({ name: 'pooled', target: 0.995, maxTenants: 1, registry });
const wrapped = availability.wrap((value) => value, { tenant: () => 'tenant-1' });

const rows = {
  'prom-client counter.inc()': () => bare.inc(),
  'prom-client counter.inc({slo, tenant, outcome})': (index) =>
    labelled.inc({ slo: 'availability', tenant: tenants[index % 100], outcome: 'good' }),
  'record({ok, tenant})': (index) => availability.record({ ok: index % 50 !== 0, tenant: tenants[index % 100] }),
  'record({durationMs, tenant}) with a threshold': (index) => latency.record({ durationMs: index % 1000, tenant: tenants[index % 100] }),
  'record of a pooled tenant': (index) => pooled.record({ ok: true, tenant: tenants[index % 100] }),
  'wrap(fn)(), beside fn()': wrapped,
  'new ErrorBudgetInstrument({…}).record({ok})': (index) =>
    new ErrorBudgetInstrument({
      sloTarget: 0.995,
      burnRateThreshold: 0.072,
      tenantId: tenants[index % 100],
      recordingRules: ['error_budget:burn_rate:5m'],
      registry,
    }).record({ ok: true }),
};

const results = Object.fromEntries(Object.entries(rows).map(([name, call]) => [name, measure(call)]));
for (const [name, nanoseconds] of Object.entries(results)) console.log(`${nanoseconds.toFixed(0).padStart(6)} ns  ${name}`);

const over = Math.max(results['record({ok, tenant})'], results['record({durationMs, tenant}) with a threshold']) - results['prom-client counter.inc()'];
console.log(`record over a bare counter: ${over.toFixed(0)} ns, at most 1000`);
if (over > 1000) process.exitCode = 1;

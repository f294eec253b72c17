import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { defaults, ErrorBudgetInstrument, outcomes, pooledTenant, signals } from '../src/index.js';
import { fixture } from './fixtures.js';

interface Signals {
  metrics: { name: string; type: string; help: string; labels: string[] }[];
  outcomes: Record<string, string>;
  pooledTenant: string;
  defaults: Record<string, string | number>;
}

const listed = fixture<Signals>('signals.json');

test('the constants are what fixtures/signals.json lists', () => {
  const byName = (a: { name: string }, b: { name: string }) => a.name.localeCompare(b.name);
  const ours = Object.values(signals).map(({ name, help, labelNames }) => ({ name, help, labels: [...labelNames] }));
  expect(ours.sort(byName)).toEqual(listed.metrics.map(({ name, help, labels }) => ({ name, help, labels })).sort(byName));
  expect(outcomes).toEqual(listed.outcomes);
  expect(pooledTenant).toBe(listed.pooledTenant);
  expect(defaults).toEqual(listed.defaults);
});

test('a scrape shows the metrics listed, with their types, help and labels, and no others', async () => {
  const registry = new Registry();
  new ErrorBudgetInstrument({ target: 0.999, threshold: '300ms', registry }).record({ durationMs: 1, tenant: 'acme' });
  const text = await registry.metrics();
  const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => `${name} ${type}`);
  expect(types.sort()).toEqual(listed.metrics.map(({ name, type }) => `${name} ${type}`).sort());
  for (const { name, help, labels } of listed.metrics) {
    expect(text).toContain(`# HELP ${name} ${help}\n`);
    const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name}_`));
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines) {
      const names = [...line.matchAll(/(\w+)="/g)].map(([, label]) => label).filter((label) => label !== 'le');
      expect(names).toEqual(labels);
    }
  }
});

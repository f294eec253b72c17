import { Registry } from 'prom-client';
import { beforeEach, expect, test, vi } from 'vitest';
import { ErrorBudgetInstrument } from '../src/index.js';
import { outcomesOf, samples } from './exposition.js';

let registry: Registry;
let budget: ErrorBudgetInstrument;

beforeEach(() => {
  registry = new Registry();
  budget = new ErrorBudgetInstrument({ target: 0.995, tenantId: 'acme', registry });
});

test('a call that returns is good, one that throws is bad, and both stay what they are', async () => {
  const half = budget.wrap((n: number) => {
    if (n % 2 !== 0) throw new RangeError('odd');
    return n / 2;
  });
  expect(half(4)).toBe(2);
  expect(() => half(3)).toThrow(RangeError);
  expect(await outcomesOf(registry)).toEqual({ acme: '1/1' });
});

test('a promise counts when it settles, and is handed through as it is', async () => {
  const pending = Promise.resolve('answer');
  const ask = budget.wrap(() => pending);
  expect(ask()).toBe(pending);
  await expect(ask()).resolves.toBe('answer');
  const fail = budget.wrap(async () => { throw new Error('down'); });
  await expect(fail()).rejects.toThrow('down');
  expect(await outcomesOf(registry)).toEqual({ acme: '2/1' });
});

test('a query that runs on each then runs once', async () => {
  const runs = vi.fn();
  const query: PromiseLike<string> = {
    then(resolve, reject) {
      runs();
      return Promise.resolve('row').then(resolve, reject);
    },
  };
  await expect(budget.wrap(() => query)()).resolves.toBe('row');
  expect(runs).toHaveBeenCalledTimes(1);
  const broken: PromiseLike<never> = { then: (_resolve, reject) => Promise.reject(new Error('gone')).then(null, reject) as never };
  await expect(budget.wrap(() => broken)()).rejects.toThrow('gone');
  expect(await outcomesOf(registry)).toEqual({ acme: '1/1' });
});

test('this, arguments, name and length are those of the function', () => {
  const counter = {
    n: 1,
    add: budget.wrap(function add(this: { n: number }, a: number, b: number) { return this.n + a + b; }),
  };
  expect(counter.add(2, 3)).toBe(6);
  expect([counter.add.name, counter.add.length]).toEqual(['add', 2]);
});

test('the tenant may come from the arguments, by option or by tenantId', async () => {
  const answer = budget.wrap((context: { tenantId: string }) => context, { tenant: (context) => context.tenantId });
  answer({ tenantId: 'globex' });
  const dynamic = new ErrorBudgetInstrument({ target: 0.995, tenantId: (context: { tenantId: string }) => context.tenantId, registry });
  dynamic.wrap((context: { tenantId: string }) => context)({ tenantId: 'initech' });
  expect(await outcomesOf(registry)).toEqual({ acme: '0/0', globex: '1/0', initech: '1/0' });
});

test('a result may be bad though nothing was thrown', async () => {
  const fetchStatus = budget.wrap(async (status: number) => ({ status }), { ok: ({ status }) => status < 500 });
  await fetchStatus(200);
  await fetchStatus(503);
  expect(await outcomesOf(registry)).toEqual({ acme: '1/1' });
});

test('calls are timed', async () => {
  const latency = new ErrorBudgetInstrument({ target: 0.995, threshold: '20ms', tenantId: 'acme', registry });
  const clock = vi.spyOn(performance, 'now');
  clock.mockReturnValueOnce(1000).mockReturnValueOnce(1020);
  latency.wrap(() => 0)();
  clock.mockReturnValueOnce(1000).mockReturnValueOnce(1021);
  latency.wrap(() => 0)();
  clock.mockRestore();
  expect(await outcomesOf(registry, 'latency')).toEqual({ acme: '1/1' });
  const sums = await samples(registry, 'error_budget_event_duration_seconds_sum');
  expect(sums['latency acme']).toBeCloseTo(0.041, 9);
});

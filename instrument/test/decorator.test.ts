import { Registry } from 'prom-client';
import { beforeEach, expect, test } from 'vitest';
import { ContractError, errorBudgetOf, SLO, type SLOOptions } from '../src/index.js';
import { outcomesOf, samples } from './exposition.js';

// Decorators as TC39 has them. test/legacy holds the same for experimentalDecorators.

const registry = new Registry();
beforeEach(() => { registry.resetMetrics(); });

@SLO({ name: 'availability', target: 0.999, tenantLabel: 'tenant', registry })
@SLO({ name: 'latency', target: '99%', threshold: '300ms', registry })
class SearchService {
  readonly greeting = 'found';

  @SLO({ name: 'find', target: 0.99, tenantId: (_query: string, tenant: string) => tenant, registry })
  find(query: string, tenant: string): string {
    if (query === '') throw new RangeError('empty query');
    return `${this.greeting} ${query} for ${tenant}`;
  }

  @SLO({ name: 'ask', target: 0.99, tenantId: 'acme', registry })
  async ask(up: boolean): Promise<string> {
    if (!up) throw new Error('down');
    return 'answer';
  }

  @SLO({ name: 'count', target: 0.99, tenantId: 'acme', registry })
  static count(): number {
    return 1;
  }
}

class FederatedSearch extends SearchService {}

test('the calls of a method are events', async () => {
  const search = new SearchService();
  expect(search.find('lamp', 'acme')).toBe('found lamp for acme');
  expect(() => search.find('', 'globex')).toThrow(RangeError);
  expect(await outcomesOf(registry, 'find')).toEqual({ acme: '1/0', globex: '0/1' });
});

test('so are those of asynchronous and static methods', async () => {
  const search = new SearchService();
  await expect(search.ask(true)).resolves.toBe('answer');
  await expect(search.ask(false)).rejects.toThrow('down');
  expect(SearchService.count()).toBe(1);
  expect(await outcomesOf(registry, 'ask')).toEqual({ acme: '1/1' });
  expect(await outcomesOf(registry, 'count')).toEqual({ acme: '1/0' });
});

test('a class declares: its objectives are exported, its budgets can be had', async () => {
  const objectives = await samples(registry, 'error_budget_objective_ratio');
  expect([objectives['availability'], objectives['latency']]).toEqual([0.999, 0.99]);
  expect(errorBudgetOf(SearchService, 'latency').target).toBe(0.99);
  expect(errorBudgetOf(FederatedSearch, 'availability').target).toBe(0.999);
});

test('the budget of a class that declares one SLO needs no name', () => {
  @SLO({ name: 'only', target: 0.9, registry })
  class Only {}
  expect(errorBudgetOf(Only).name).toBe('only');
});

test('a budget that is not declared is told', () => {
  class Nothing {}
  expect(() => errorBudgetOf(Nothing)).toThrow('class Nothing declares no SLO: decorate it with @SLO');
  expect(() => errorBudgetOf(SearchService)).toThrow(/declares the SLOs latency, availability: name one/);
  expect(() => errorBudgetOf(SearchService, 'freshness')).toThrow(/none is freshness/);
});

test('a wrong declaration fails where the class is defined', () => {
  expect(() => SLO({ target: 99.9 } as SLOOptions)).toThrow(ContractError);
});

test('fields and getters are refused', () => {
  const decorate = SLO({ name: 'field', target: 0.9, registry }) as unknown as (value: unknown, context: object) => void;
  expect(() => { decorate(undefined, { kind: 'field', name: 'x' }); }).toThrow('@SLO field is on a field: write it on a class or a method');
  expect(() => { decorate(() => 0, { kind: 'getter', name: 'x' }); }).toThrow(/on a getter/);
});

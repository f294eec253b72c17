import 'reflect-metadata';
import { Registry } from 'prom-client';
import { beforeEach, expect, test } from 'vitest';
import { errorBudgetOf, SLO } from '../../src/index.js';
import { outcomesOf, samples } from '../exposition.js';

// Decorators as TypeScript had them first and NestJS has them still: see tsconfig.json beside this file.

const registry = new Registry();
beforeEach(() => { registry.resetMetrics(); });

/** Keeps a route on the handler, as NestJS's @Get does. */
function Get(path: string) {
  return (_owner: object, _key: string, descriptor: PropertyDescriptor): void => {
    Reflect.defineMetadata('path', path, descriptor.value as object);
  };
}

@SLO({ name: 'availability', target: 0.999, registry })
class SearchController {
  readonly greeting = 'found';

  @SLO({ name: 'find', target: 0.99, tenantId: (_query: string, tenant: string) => tenant, registry })
  @Get('/search')
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

test('this file is compiled with experimentalDecorators', () => {
  let given = 0;
  function counts(...args: unknown[]): void { given = args.length; }
  class Probe {
    @counts
    method(): void {}
  }
  expect([new Probe().method(), given]).toEqual([undefined, 3]);
});

test('the calls of a method are events', async () => {
  const search = new SearchController();
  expect(search.find('lamp', 'acme')).toBe('found lamp for acme');
  expect(() => search.find('', 'globex')).toThrow(RangeError);
  expect(await outcomesOf(registry, 'find')).toEqual({ acme: '1/0', globex: '0/1' });
});

test('so are those of asynchronous and static methods', async () => {
  const search = new SearchController();
  await expect(search.ask(true)).resolves.toBe('answer');
  await expect(search.ask(false)).rejects.toThrow('down');
  expect(SearchController.count()).toBe(1);
  expect(await outcomesOf(registry, 'ask')).toEqual({ acme: '1/1' });
  expect(await outcomesOf(registry, 'count')).toEqual({ acme: '1/0' });
});

test('what NestJS has written on a handler stays on it', () => {
  expect(Reflect.getMetadata('path', SearchController.prototype.find)).toBe('/search');
});

test('a class declares', async () => {
  expect((await samples(registry, 'error_budget_objective_ratio'))['availability']).toBe(0.999);
  expect(errorBudgetOf(SearchController).target).toBe(0.999);
});

test('properties are refused', () => {
  const decorate = SLO({ name: 'field', target: 0.9, registry }) as unknown as (owner: object, key: string) => void;
  expect(() => { decorate({}, 'x'); }).toThrow('@SLO field is on a property: write it on a class or a method');
});

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import type * as instrument from '../src/index.js';
import { outcomesOf } from './exposition.js';

// What is published: dist, which `npm test` builds first.

const require = createRequire(import.meta.url);
const manifest = require('../package.json') as Record<string, Record<string, string> | undefined>;

const asModule = (await import('@slowburn/instrument' as string)) as typeof instrument;
const asCommonJS = require('@slowburn/instrument') as typeof instrument;

test('both builds export the same names', () => {
  expect(Object.keys(asModule).sort()).toEqual(Object.keys(asCommonJS).filter((name) => name !== '__esModule').sort());
  expect(asModule.ErrorBudgetInstrument).not.toBe(asCommonJS.ErrorBudgetInstrument);
});

test('both builds, loaded at once, count together', async () => {
  const registry = new Registry();
  for (const { ErrorBudgetInstrument } of [asModule, asCommonJS]) {
    new ErrorBudgetInstrument({ target: 0.995, tenantId: 'acme', registry }).record({ ok: true });
  }
  expect(await outcomesOf(registry)).toEqual({ acme: '2/0' });
});

test('prom-client is all it needs', () => {
  expect(manifest['dependencies']).toBeUndefined();
  expect(Object.keys(manifest['peerDependencies'] ?? {})).toEqual(['prom-client']);
});

test('the lock file names no place to download from', () => {
  expect(readFileSync(require.resolve('../package-lock.json'), 'utf8')).not.toContain('"resolved": "http');
});

test('what is packed is dist, src, manifest and README', () => {
  const [packed] = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })) as [{ files: { path: string }[] }];
  const roots = new Set(packed.files.map(({ path }) => path.split('/')[0]));
  expect([...roots].sort()).toEqual(['README.md', 'dist', 'package.json', 'src']);
});

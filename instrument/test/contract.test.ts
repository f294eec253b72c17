import { expect, test } from 'vitest';
import { readContract } from '../src/contract.js';
import { ContractError, type SLOOptions } from '../src/index.js';

/** What a caller without types may pass. */
const loose = (options: unknown): SLOOptions => options as SLOOptions;

test('target and sloTarget are one, as are name and slo', () => {
  expect(readContract({ target: 0.995 }).target).toBe(0.995);
  expect(readContract({ sloTarget: '99.5%' }).target).toBe(0.995);
  expect(readContract({ target: 0.995, sloTarget: '99.5%' }).target).toBe(0.995);
  expect(readContract({ target: 0.995, slo: 'checkout' }).name).toBe('checkout');
});

test('an SLO without a name is availability, or latency where there is a threshold', () => {
  expect(readContract({ target: 0.995 }).name).toBe('availability');
  expect(readContract({ target: 0.995, threshold: '300ms' }).name).toBe('latency');
});

test.each<[unknown, string]>([
  [{}, 'target is missing: write target: 0.995'],
  [{ target: undefined }, 'target is missing: write target: 0.995'],
  [{ target: 99.5 }, 'target 99.5 outside (0, 1): write 99.5% or 0.995'],
  [{ target: true }, 'target true is not a number: write 0.995 or 99.5%'],
  [{ target: 0.99, sloTarget: 0.995 }, 'target and sloTarget are one, and differ: 0.99 and 0.995'],
  [{ target: 0.99, name: 'a', slo: 'b' }, 'name and slo are one, and differ: a and b'],
  [{ target: 0.99, burnRateTreshold: 14 }, 'unknown key "burnRateTreshold": did you mean burnRateThreshold?'],
  [{ target: 0.99, tenantID: 'acme' }, 'unknown key "tenantID": did you mean tenantId?'],
  [{ target: 0.99, window: 30 }, "window 30 is not a string: write one such as '300ms' or '30d'"],
  [{ target: 0.99, threshold: 300 }, "threshold 300 is not a string: write one such as '300ms' or '30d'"],
  [{ target: 0.99, policy: 'nobl9' }, 'policy "nobl9" is unknown: write one of [default sre lenient]'],
  [{ target: 0.99, minFailures: -1 }, 'minFailures -1 is not a whole number from 0 up'],
  [{ target: 0.99, maxTenants: 0 }, 'maxTenants 0 is not a whole number from 1 up'],
  [{ target: 0.99, maxTenants: 2.5 }, 'maxTenants 2.5 is not a whole number from 1 up'],
  [{ target: 0.99, tenantId: 42 }, 'tenantId is number, want a string or a function'],
  [{ target: 0.99, name: '' }, 'name is empty, want a string'],
  [{ target: 0.99, runbook: 1 }, 'runbook is number, want a string'],
  [{ target: 0.99, recordingRules: '5m' }, "recordingRules is string, want a list such as ['error_budget:burn_rate:5m']"],
  [{ target: 0.99, recordingRules: [5] }, "recordingRules holds 5, want a list such as ['error_budget:burn_rate:5m']"],
  [{ target: 0.99, tenantLabel: 'tenant-id' }, 'tenantLabel "tenant-id" is no label name: write letters, digits and underscores'],
  [{ target: 0.99, tenant: 42 }, 'tenant is number, want a string or a function'],
  [{ target: 0.99, description: ' ' }, 'description is empty, want a string'],
  [{ target: 0.99, runbook: 'a', runbookUrl: 'b' }, 'runbook and runbookUrl are one, and differ: a and b'],
  [{ target: 0.99, threshold: '300' }, 'threshold "300" is no duration: write a duration with its unit, such as \'300ms\' or \'0.3s\''],
  [{ target: 0.99, threshold: '0s' }, 'threshold "0s" is not above 0: write a duration with its unit, such as \'300ms\' or \'0.3s\''],
  [{ target: 0.99, threshold: '1'.repeat(41) }, 'threshold of 41 letters is no duration: write a duration with its unit, such as \'300ms\' or \'0.3s\''],
])('%j is refused', (options, fault) => {
  let thrown: unknown;
  try {
    readContract(loose(options));
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(ContractError);
  expect((thrown as ContractError).faults).toEqual([fault]);
});

test('all faults are told, each with the SLO it is of', () => {
  const read = () => readContract(loose({ name: 'checkout', target: 2, window: 'x', minFailure: 1 }));
  expect(read).toThrow(ContractError);
  expect(read).toThrow(/^SLO checkout: unknown key "minFailure": did you mean minFailures\?\nSLO checkout: target 2 outside .*\nSLO checkout: window "x": /);
});

test.each([[null], [undefined], ['0.995'], [0.995]])('options that are %j are refused', (options) => {
  expect(() => readContract(loose(options))).toThrow(/want an object with a target/);
});

test('a key of any length finds its nearest in bounded time', () => {
  expect(() => readContract(loose({ target: 0.9, ['x'.repeat(1e6)]: 1 }))).toThrow(/did you mean/);
});

test('a declaration read before is read once, whatever its tenant', () => {
  const options = (): SLOOptions => ({ name: 'cached', target: 0.995, burnRateThreshold: { burnRate: 14.4 }, recordingRules: ['a:5m'] });
  const first = readContract({ ...options(), tenantId: 'acme' });
  expect(readContract({ ...options(), tenantId: 'globex' })).toBe(first);
  expect(readContract(options())).toBe(first);
  for (const other of [{ target: 0.99 }, { burnRateThreshold: { burnRate: 6 } }, { recordingRules: ['a:1h'] }, { minFailures: 1 }, { recordingRules: undefined }]) {
    expect(readContract({ ...options(), ...other })).not.toBe(first);
  }
  readContract(options());
  expect(() => readContract(loose({ ...options(), tenantId: 42 }))).toThrow(/tenantId is number/);
  expect(() => readContract(loose({ ...options(), targt: 1 }))).toThrow(/did you mean target/);
});

test('a list that is changed after it was read is read again', () => {
  const recordingRules = ['a:5m'];
  const first = readContract({ name: 'mutable', target: 0.995, recordingRules });
  recordingRules[0] = 'a:1h';
  expect(readContract({ name: 'mutable', target: 0.995, recordingRules })).not.toBe(first);
});

test.each([['300ms', 300], ['0.3s', 300], ['1m30s', 90_000], ['.5s', 500], ['1.5h', 5_400_000], ['250us', 0.25], [' 2s ', 2000]])('threshold %s', (text, milliseconds) => {
  expect(readContract({ target: 0.99, threshold: text }).threshold).toBe(milliseconds);
});

test('a threshold below the budget is no reason not to start, one that can never fire is', () => {
  expect(() => readContract({ target: 0.995, burnRateThreshold: 0.004 })).not.toThrow();
  expect(() => readContract({ target: 0.995, burnRateThreshold: 250 })).toThrow(/can never fire/);
});

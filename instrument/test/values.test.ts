import { describe, expect, test } from 'vitest';
import { budgetOf, maxBurnRate, readTarget } from '../src/target.js';
import { burnRateOf, checkThreshold, readThreshold } from '../src/threshold.js';
import { formatWindow, parseWindow } from '../src/window.js';
import { fixture } from './fixtures.js';

interface Values {
  targets: { in: unknown; target: number; budget: number; maxBurnRate: number; error?: string }[];
  thresholds: { in: unknown; target: number; window: string; burnRate: number; error?: string }[];
  budgetThresholds: { budget: number; within: string; target: number; window: string; burnRate: number; error?: string }[];
  windows: { in: string; milliseconds: number; out: string; error?: string }[];
}

const values = fixture<Values>('values.json');

/** The message that read throws, if it does. */
function messageOf(read: () => unknown): string | undefined {
  try {
    read();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

describe('values are read as the Go side reads them', () => {
  test.each(values.targets)('target $in', (row) => {
    expect(messageOf(() => readTarget(row.in))).toBe(row.error);
    if (row.error !== undefined) return;
    const target = readTarget(row.in);
    expect([target, budgetOf(target), maxBurnRate(target)]).toEqual([row.target, row.budget, row.maxBurnRate]);
  });

  const budgets = values.budgetThresholds.map(({ budget, within, ...row }) => ({ in: { budget, within }, ...row }));
  test.each([...values.thresholds, ...budgets])('threshold $in', (row) => {
    const window = parseWindow(row.window);
    expect(messageOf(() => { checkThreshold(readThreshold(row.in), row.target, window); })).toBe(row.error);
    if (row.error === undefined) expect(burnRateOf(readThreshold(row.in), row.target, window)).toBe(row.burnRate);
  });

  test.each(values.windows)('window $in', (row) => {
    expect(messageOf(() => parseWindow(row.in))).toBe(row.error);
    if (row.error === undefined) expect([parseWindow(row.in), formatWindow(parseWindow(row.in))]).toEqual([row.milliseconds, row.out]);
  });
});

describe('explicit thresholds', () => {
  test.each([
    [{ burnRate: 16 }, 16],
    [{ burnRate: '16x' }, 16],
    [{ errorRatio: 0.08 }, 16],
    [{ errorRatio: '8%' }, 16],
    [{ budget: '2%', within: '1h' }, 14.4],
  ])('%j is a burn rate of %d', (form, rate) => {
    expect(burnRateOf(readThreshold(form), 0.995, parseWindow('30d'))).toBe(rate);
  });

  test.each([
    [{ burnRate: '16%' }, /burnRate "16%" is not a positive number/],
    [{ errorRatio: -1 }, /threshold error ratio -1 is out of range: write a share in \(0, 1\]/],
    [{ budget: 2, within: '1h' }, /threshold budget 2 is out of range/],
    [{ burnRate: -1 }, /burnRate -1 is not a positive number/],
    [{ budget: '2%' }, /keys budget is unknown/],
    [{ burnRate: 16, errorRatio: 0.08 }, /keys burnRate errorRatio is unknown/],
    [{}, /keys none is unknown/],
    [{ budget: '2%', within: 3600 }, /within is not a string/],
    [true, /threshold true is not a number/],
    [null, /threshold null is not a number/],
    [Number.NaN, /threshold NaN is not above 0/],
  ])('%j is refused', (form, error) => {
    expect(() => readThreshold(form)).toThrow(error);
  });
});

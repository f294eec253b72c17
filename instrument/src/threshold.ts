import { divide, formatNumber, formatPercent, multiply, parseNumber } from './decimal.js';
import { budgetOf, formatTarget, maxBurnRate } from './target.js';
import { formatWindow, parseWindow } from './window.js';

/**
 * When to alert. A bare number from 1 up is a burn rate, in (0, 1) it is a share of failed events, since a burn
 * rate below 1 can't be an alert. The other forms say which they are.
 */
export type BurnRateThreshold =
  | number
  | string
  | { readonly burnRate: number | string }
  | { readonly errorRatio: number | string }
  | { readonly budget: number | string; readonly within: string };

type Unit = 'burn rate' | 'error ratio' | 'budget';

/** A threshold as the contract meant it. within, in milliseconds, belongs to the unit budget. */
export interface Threshold {
  readonly value: number;
  readonly unit: Unit;
  readonly within: number;
}

/** Reads any form of a threshold; throws what to write instead. */
export function readThreshold(value: unknown): Threshold {
  if (typeof value === 'number') return bare(value);
  if (typeof value === 'string') return spelled(value);
  if (typeof value === 'object' && value !== null) return stated(value as Record<string, unknown>);
  throw new TypeError(`threshold ${String(value)} is not a number: ${advice}`);
}

const advice = "write 16, '16x', '8%' or {budget: '2%', within: '1h'}";

function bare(value: number): Threshold {
  if (value >= 1) return { value, unit: 'burn rate', within: 0 };
  if (value > 0) return { value, unit: 'error ratio', within: 0 };
  throw new RangeError(
    `threshold ${formatNumber(value)} is not above 0: write a burn rate such as 14.4 or an error ratio such as 8%`,
  );
}

function spelled(text: string): Threshold {
  const trimmed = text.trim();
  if (trimmed.endsWith('x')) return { value: positive(text, trimmed.slice(0, -1), 'burn rate'), unit: 'burn rate', within: 0 };
  if (trimmed.endsWith('%')) {
    const percent = positive(text, trimmed.slice(0, -1), 'error ratio');
    return { value: divide(percent, 100), unit: 'error ratio', within: 0 };
  }
  const number = parseNumber(trimmed);
  if (number === undefined) throw new TypeError(`threshold ${JSON.stringify(text)} is not a number: ${advice}`);
  return bare(number);
}

function positive(whole: string, number: string, unit: Unit): number {
  const value = parseNumber(number.trim());
  if (value !== undefined && value > 0) return value;
  throw new RangeError(`threshold ${JSON.stringify(whole)} is not a positive ${unit}: write '16x' or '8%'`);
}

/** Reads {burnRate}, {errorRatio} or {budget, within}. */
function stated(threshold: Record<string, unknown>): Threshold {
  const keys = Object.keys(threshold).sort().join(' ');
  switch (keys) {
    case 'burnRate':
      return { value: amount('burnRate', threshold['burnRate'], 'x'), unit: 'burn rate', within: 0 };
    case 'errorRatio':
      return { value: amount('errorRatio', threshold['errorRatio'], '%'), unit: 'error ratio', within: 0 };
    case 'budget within':
      if (typeof threshold['within'] !== 'string') throw new TypeError("threshold's within is not a string: write '1h'");
      return { value: amount('budget', threshold['budget'], '%'), unit: 'budget', within: parseWindow(threshold['within']) };
    default:
      throw new TypeError(`threshold with the keys ${keys === '' ? 'none' : keys} is unknown: ${advice}`);
  }
}

/** Reads one member of an explicit form: a number, or a string with the sign that fits it. */
function amount(key: string, value: unknown, sign: 'x' | '%'): number {
  let number = typeof value === 'number' ? value : undefined;
  if (typeof value === 'string') {
    const text = value.trim();
    const bareText = text.endsWith(sign) ? text.slice(0, -1).trim() : text;
    number = parseNumber(bareText);
    if (number !== undefined && sign === '%' && text.endsWith(sign)) number = divide(number, 100);
  }
  if (number !== undefined && sign === '%' && (number <= 0 || number > 1)) {
    const unit = key === 'budget' ? 'budget' : 'error ratio';
    throw new RangeError(`threshold ${unit} ${formatNumber(number)} is out of range: write a share in (0, 1] or a percentage such as '8%'`);
  }
  if (number !== undefined && number > 0 && Number.isFinite(number)) return number;
  throw new RangeError(`threshold's ${key} ${JSON.stringify(value)} is not a positive number: ${advice}`);
}

/** The threshold as a multiple of the budget, for a target and an SLO window in milliseconds. */
export function burnRateOf(threshold: Threshold, target: number, window: number): number {
  switch (threshold.unit) {
    case 'burn rate':
      return threshold.value;
    case 'error ratio':
      return divide(threshold.value, budgetOf(target));
    case 'budget':
      return divide(multiply(threshold.value, window), threshold.within);
  }
}

/** Throws for a threshold that can never fire, or that fires on a service which keeps its promise. */
export function checkThreshold(threshold: Threshold, target: number, window: number): void {
  const { unit, within } = threshold;
  if (unit === 'budget' && within > window) {
    throw new RangeError(`threshold's within ${formatWindow(within)} is outside the SLO window ${formatWindow(window)}`);
  }
  const rate = burnRateOf(threshold, target, window);
  const limit = maxBurnRate(target);
  const what = `threshold ${formatThreshold(threshold)} is a burn rate of ${formatNumber(rate)}x`;
  if (rate >= limit) {
    throw new RangeError(
      `${what}, and a total outage of a ${formatTarget(target)} target burns at ${formatNumber(limit)}x: ` +
        `it can never fire; write less than ${formatNumber(limit)}x`,
    );
  }
  if (rate < 1) {
    throw new RangeError(
      `${what}: below 1x a service that keeps its ${formatTarget(target)} target would fire; ` +
        `write at least ${formatPercent(budgetOf(target))}`,
    );
  }
}

function formatThreshold({ value, unit, within }: Threshold): string {
  switch (unit) {
    case 'burn rate':
      return `${formatNumber(value)}x`;
    case 'error ratio':
      return formatPercent(value);
    case 'budget':
      return `${formatPercent(value)} of the budget within ${formatWindow(within)}`;
  }
}

import { divide, formatNumber, formatPercent, parseNumber, subtract } from './decimal.js';

/** Reads a target, 0.995 or '99.5%', as a share in (0, 1); throws what to write instead. */
export function readTarget(value: unknown): number {
  if (typeof value === 'number') return checkTarget(value);
  if (typeof value !== 'string') throw new TypeError(`target ${String(value)} is not a number: ${advice}`);
  const text = value.trim();
  const percent = text.endsWith('%');
  const number = parseNumber((percent ? text.slice(0, -1) : text).trim());
  if (number === undefined) throw new TypeError(`target ${JSON.stringify(value)} is not a number: ${advice}`);
  if (!percent) return checkTarget(number);
  const share = divide(number, 100);
  if (share > 0 && share < 1) return share;
  throw new RangeError(`target ${text} outside (0%, 100%): write a percentage such as 99.5%`);
}

const advice = 'write 0.995 or 99.5%';

function checkTarget(target: number): number {
  if (target > 0 && target < 1) return target;
  const outside = `target ${formatNumber(target)} outside (0, 1): write`;
  if (target > 1 && target < 100) {
    throw new RangeError(`${outside} ${formatNumber(target)}% or ${formatNumber(divide(target, 100))}`);
  }
  throw new RangeError(`${outside} a share such as 0.995 or a percentage such as 99.5%`);
}

/** The share of events that may fail: 1 - target, computed in decimal. */
export function budgetOf(target: number): number {
  return subtract(1, target);
}

/** The burn rate of a total outage: a threshold at or above it can never fire. */
export function maxBurnRate(target: number): number {
  return divide(1, budgetOf(target));
}

export { formatPercent as formatTarget };

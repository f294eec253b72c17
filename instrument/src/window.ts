import { multiply } from './decimal.js';

const units = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
  ['w', 7 * 86_400_000],
  ['y', 365 * 86_400_000],
]);

const longest = 100 * 365 * 86_400_000;

/** Reads a window in Prometheus's spelling, such as 5m, 1h30m or 30d; returns milliseconds or throws. */
export function parseWindow(text: string): number {
  let total = 0;
  let last = Infinity;
  let rest = text;
  while (rest !== '') {
    const [, number = '', name = ''] = /^(\d*)([a-z]*)/.exec(rest) ?? [];
    const unit = units.get(name);
    if (number === '' || Number(number) > 0x7fffffff || unit === undefined || unit >= last) throw malformed(text);
    total += Number(number) * unit;
    if (total > longest) throw new RangeError(`window ${JSON.stringify(text)} is longer than 100 years: ${advice}`);
    last = unit;
    rest = rest.slice(number.length + name.length);
  }
  if (total <= 0) throw malformed(text);
  return total;
}

const durationUnits = new Map([
  ['ns', 0.000001],
  ['us', 0.001],
  ['µs', 0.001],
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

/** Reads a duration with its unit, such as 300ms, 0.3s or 1m30s; returns milliseconds or throws. */
export function parseDuration(text: string): number {
  if (text.length > 40) throw new RangeError(`threshold of ${text.length} letters is no duration: ${durationAdvice}`);
  const part = /(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)/y;
  const trimmed = text.trim();
  let total = 0;
  while (part.lastIndex < trimmed.length) {
    const found = part.exec(trimmed);
    if (found === null) throw new RangeError(`threshold ${JSON.stringify(text)} is no duration: ${durationAdvice}`);
    const [, number = '', unit = ''] = found;
    total += multiply(Number(number), durationUnits.get(unit) ?? 1);
  }
  if (total > 0) return total;
  throw new RangeError(`threshold ${JSON.stringify(text)} is not above 0: ${durationAdvice}`);
}

const durationAdvice = "write a duration with its unit, such as '300ms' or '0.3s'";

/** Prints a window as rules name it: in the largest unit that fits, never weeks. */
export function formatWindow(milliseconds: number): string {
  for (const name of ['d', 'h', 'm', 's']) {
    const unit = units.get(name) ?? 1;
    if (milliseconds !== 0 && milliseconds % unit === 0) return `${milliseconds / unit}${name}`;
  }
  return `${milliseconds}ms`;
}

const advice = 'write a whole number with s, m, h, d or w, such as 5m, 1h or 30d';

function malformed(text: string): RangeError {
  return new RangeError(`window ${JSON.stringify(text)}: ${advice}`);
}

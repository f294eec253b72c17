/**
 * Arithmetic as people do it on paper: 1 - 0.995 is 0.005, never 0.0050000000000000044. The Go side computes
 * the same way, so that a threshold in the running code and in the rules is one number.
 */

/** digits × 10^exponent. */
interface Decimal {
  readonly digits: bigint;
  readonly exponent: number;
}

/** Reads a plain decimal number; undefined where the text is none. Infinities and hexadecimal are none. */
export function parseNumber(text: string): number | undefined {
  if (text.length > 40 || !/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text)) return undefined;
  const value = Number(text);
  const size = Math.abs(value);
  return size > 1e18 || (size !== 0 && size < 1e-18) ? undefined : value;
}

export function subtract(a: number, b: number): number {
  const [x, y] = [decimal(a), decimal(b)];
  const exponent = Math.min(x.exponent, y.exponent);
  return toNumber(scale(x, exponent) - scale(y, exponent), exponent);
}

export function multiply(a: number, b: number): number {
  const [x, y] = [decimal(a), decimal(b)];
  return toNumber(x.digits * y.digits, x.exponent + y.exponent);
}

/** Divides, correctly rounded. b must not be 0. */
export function divide(a: number, b: number): number {
  const [x, y] = [decimal(a), decimal(b)];
  const precision = 60;
  const shifted = x.digits * 10n ** BigInt(precision);
  const quotient = shifted / y.digits;
  // One more digit says whether anything was cut off: without it, a half would round as if it were exact.
  const rest = shifted % y.digits === 0n ? 0n : 1n;
  return toNumber(quotient * 10n + rest, x.exponent - y.exponent - precision - 1);
}

/** Prints a number exactly and in its shortest form, without an exponent for the sizes that SLOs have. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : value < 0 ? '-Inf' : 'NaN';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-9 || size >= 1e15)) return value.toExponential();
  const text = String(value);
  if (!text.includes('e')) return text;
  const { digits, exponent } = decimal(size);
  const fraction = String(digits).padStart(-exponent, '0');
  return `${value < 0 ? '-' : ''}0.${fraction}`;
}

/** Prints the ratio as a percentage in its shortest form. */
export function formatPercent(ratio: number): string {
  return `${formatNumber(multiply(ratio, 100))}%`;
}

/** The number that a person sees when value is printed. */
function decimal(value: number): Decimal {
  const [mantissa = '0', power = '0'] = String(value).split('e');
  const [whole = '0', fraction = ''] = mantissa.split('.');
  return { digits: BigInt(whole + fraction), exponent: Number(power) - fraction.length };
}

function scale(value: Decimal, exponent: number): bigint {
  return value.digits * 10n ** BigInt(value.exponent - exponent);
}

function toNumber(digits: bigint, exponent: number): number {
  return Number(`${digits}e${exponent}`);
}

import type { OpenMetricsContentType, PrometheusContentType, Registry } from 'prom-client';
import { defaults } from './signals.js';
import { readTarget } from './target.js';
import { burnRateOf, checkThreshold, readThreshold, type BurnRateThreshold, type Threshold } from './threshold.js';
import { parseDuration, parseWindow } from './window.js';

/** A registry of prom-client, of either exposition format. */
export type AnyRegistry = Registry<PrometheusContentType> | Registry<OpenMetricsContentType>;

/** Tells the tenant of a call from its arguments. */
export type TenantOf = (...args: never[]) => string | undefined;

/** What may be said of an SLO beside its target. Every key means the same in tag, decorator and constructor. */
export interface ContractOptions {
  /** The SLO's name, unique in its service. Default: availability, or latency where there is a threshold. */
  readonly name?: string | undefined;
  /** The same as name. */
  readonly slo?: string | undefined;
  /** The service that promises. Default: found by slowburn from the Compose file or package.json. */
  readonly service?: string | undefined;
  /** The period that the error budget is for. Default: 30d. */
  readonly window?: string | undefined;
  /** PromQL selector of the failed events, where the SLO is measured by metrics of your own. */
  readonly errors?: string | undefined;
  /** PromQL selector of all events. */
  readonly total?: string | undefined;
  /** A histogram of your own that a latency SLO is measured by. */
  readonly metric?: string | undefined;
  /** Makes it a latency SLO: an event that takes longer is bad. Such as 300ms. */
  readonly threshold?: string | undefined;
  /** The tenant of every event, or a function that tells it from the arguments of a wrapped or decorated call. */
  readonly tenantId?: string | TenantOf | undefined;
  /** The same as tenantId. */
  readonly tenant?: string | TenantOf | undefined;
  /** The tenant label of the metrics named by errors, total and metric. Our own metrics always say tenant. */
  readonly tenantLabel?: string | undefined;
  /** When to alert. A number from 1 up is a burn rate, in (0, 1) a share of failed events. */
  readonly burnRateThreshold?: BurnRateThreshold | undefined;
  /** The windows to record, such as error_budget:burn_rate:5m. */
  readonly recordingRules?: readonly string[] | undefined;
  /** Failed events that a window needs before its alert may fire; 0 switches the guard off. Default: 5. */
  readonly minFailures?: number | undefined;
  /** The table of alerting windows. Default: default. */
  readonly policy?: 'default' | 'sre' | 'lenient' | undefined;
  /** Where a person who is paged reads on. */
  readonly runbook?: string | undefined;
  /** The same as runbook. */
  readonly runbookUrl?: string | undefined;
  readonly description?: string | undefined;
  /** Where the metrics go. Default: prom-client's own registry. */
  readonly registry?: AnyRegistry | undefined;
  /** Tenants counted apart; the rest is pooled as other. Default: 1000. */
  readonly maxTenants?: number | undefined;
}

/** A contract states its target once: 0.995 or '99.5%'. */
export type SLOOptions = ContractOptions &
  (
    | { readonly target: number | string; readonly sloTarget?: number | string | undefined }
    | { readonly sloTarget: number | string; readonly target?: number | string | undefined }
  );

/**
 * A contract that holds: every value read and checked. Times are in milliseconds. What differs from one instrument
 * of an SLO to the next, tenant and registry, is no part of it.
 */
export interface Contract {
  readonly name: string;
  readonly target: number;
  /** The duration beyond which an event is bad, where the declaration says so. */
  readonly threshold: number | undefined;
  readonly maxTenants: number | undefined;
  /** What the declaration states, in a form that compares: two declarations of one SLO must not differ. */
  readonly stated: ReadonlyMap<string, string>;
}

/** Everything that is wrong with one declaration. */
export class ContractError extends Error {
  override readonly name = 'ContractError';

  constructor(
    slo: string,
    /** One sentence for each fault. */
    readonly faults: readonly string[],
  ) {
    super(faults.map((fault) => `SLO ${slo}: ${fault}`).join('\n'));
  }
}

type Key = Exclude<keyof ContractOptions | 'target' | 'sloTarget', undefined>;

/** Every known key. TypeScript holds the table to the types above. */
const keys: Record<Key, true> = {
  target: true, sloTarget: true, name: true, slo: true, service: true, window: true, errors: true, total: true,
  metric: true, threshold: true, tenantId: true, tenant: true, tenantLabel: true, burnRateThreshold: true, recordingRules: true,
  minFailures: true, policy: true, runbook: true, runbookUrl: true, description: true, registry: true, maxTenants: true,
};

const defaultWindow = parseWindow('30d');
const policies = ['default', 'sre', 'lenient'];

type Values = Readonly<Partial<Record<Key, unknown>>>;

/** Contracts read before, by name. Services that make an instrument for each request read the same one each time. */
const known = new Map<unknown, { readonly values: Values; readonly contract: Contract }>();
const mostKnown = 100;

/** Reads a declaration; throws ContractError with all of its faults. */
export function readContract(options: SLOOptions): Contract {
  if (typeof options !== 'object' || options === null) {
    throw new ContractError('unnamed', [`options are ${options === null ? 'null' : typeof options}, want an object with a target`]);
  }
  const values: Values = options;
  const name = values.name ?? values.slo;
  const former = known.get(name);
  if (former !== undefined && isSame(values, former.values)) return former.contract;
  const contract = new Reader(values).contract();
  if (known.size >= mostKnown) known.clear();
  known.set(name, { values: structuredClone({ ...values, tenantId: undefined, tenant: undefined, registry: undefined }), contract });
  return contract;
}

/** Whether two declarations state the same, but for tenant and registry. */
function isSame(values: Values, former: Values): boolean {
  if (!isTenant(values.tenantId) || !isTenant(values.tenant)) return false;
  for (const key in values) {
    if (key !== 'tenantId' && key !== 'tenant' && key !== 'registry' && !isEqual(values[key as Key], former[key as Key])) return false;
  }
  for (const key in former) {
    if (former[key as Key] !== undefined && values[key as Key] === undefined) return false;
  }
  return true;
}

/** Compares what a key may hold: a plain value, or a list or record of them. */
function isEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const [keysOfA, keysOfB] = [Object.keys(a), Object.keys(b)];
  return keysOfA.length === keysOfB.length && keysOfA.every((key) => (a as Record<string, unknown>)[key] === (b as Record<string, unknown>)[key]);
}

function isTenant(value: unknown): value is string | TenantOf | undefined {
  return value === undefined || typeof value === 'string' || typeof value === 'function';
}

/** Reads one declaration, key by key, and gathers what is wrong. */
class Reader {
  private readonly faults: string[] = [];
  private readonly stated = new Map<string, string>();

  constructor(private readonly options: Values) {}

  contract(): Contract {
    this.refuseUnknownKeys();
    const target = this.either('target', 'sloTarget', readTarget);
    if (target === undefined && this.faults.length === 0) this.faults.push('target is missing: write target: 0.995');
    const window = this.read('window', (value) => parseWindow(text('window', value)));
    const threshold = this.read('threshold', (value) => parseDuration(text('threshold', value)));
    this.readAlerting(target, window ?? defaultWindow);
    this.readTexts();
    const maxTenants = this.read('maxTenants', (value) => whole('maxTenants', value, 1));
    const name = this.either('name', 'slo', nonEmpty) ?? (threshold === undefined ? defaults.availability : defaults.latency);
    for (const key of ['tenantId', 'tenant'] as const) {
      const value = this.options[key];
      if (!isTenant(value)) this.faults.push(`${key} is ${typeof value}, want a string or a function`);
    }
    if (target === undefined || this.faults.length > 0) throw new ContractError(name, this.faults);
    return { name, target, threshold, maxTenants, stated: this.stated };
  }

  private refuseUnknownKeys(): void {
    for (const key of Object.keys(this.options)) {
      if (!Object.hasOwn(keys, key)) this.faults.push(`unknown key ${JSON.stringify(key)}: did you mean ${nearest(key)}?`);
    }
  }

  private readAlerting(target: number | undefined, window: number): void {
    const threshold = this.attempt(() => {
      const value = this.options.burnRateThreshold;
      if (value === undefined) return undefined;
      const read = readThreshold(value);
      if (target !== undefined && !isLow(read, target, window)) checkThreshold(read, target, window);
      return read;
    });
    if (threshold !== undefined && target !== undefined) {
      this.stated.set('burnRateThreshold', `${burnRateOf(threshold, target, window)}x`);
    }
    this.read('minFailures', (value) => whole('minFailures', value, 0));
    this.read('policy', (value) => {
      if (policies.includes(value as string)) return value as string;
      throw new RangeError(`policy ${JSON.stringify(value)} is unknown: write one of [${policies.join(' ')}]`);
    });
    this.attempt(() => { checkRecordingRules(this.options.recordingRules); });
  }

  private readTexts(): void {
    for (const key of ['service', 'errors', 'total', 'metric'] as const) this.read(key, (value) => nonEmpty(value, key));
    this.read('tenantLabel', labelName);
    this.either('runbook', 'runbookUrl', nonEmpty);
    // Two declarations may each describe the SLO in their own words.
    const { description } = this.options;
    if (description !== undefined) this.attempt(() => nonEmpty(description, 'description'));
  }

  /** Reads the value of a key that has two names; where both are there they must agree. */
  private either<T>(key: Key, alias: Key, read: (value: unknown, key: string) => T): T | undefined {
    const first = this.read(key, (value) => read(value, key));
    const second = this.read(alias, (value) => read(value, alias), key);
    if (first !== undefined && second !== undefined && first !== second) {
      this.faults.push(`${key} and ${alias} are one, and differ: ${first} and ${second}`);
    }
    return first ?? second;
  }

  private read<T>(key: Key, read: (value: unknown) => T, statedAs: Key = key): T | undefined {
    const value = this.options[key];
    if (value === undefined) return undefined;
    const result = this.attempt(() => read(value));
    if (result !== undefined) this.stated.set(statedAs, String(result));
    return result;
  }

  private attempt<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      this.faults.push(error instanceof Error ? error.message : String(error));
      return undefined;
    }
  }
}

function text(key: string, value: unknown): string {
  if (typeof value === 'string') return value;
  throw new TypeError(`${key} ${String(value)} is not a string: write one such as '300ms' or '30d'`);
}

function nonEmpty(value: unknown, key: string): string {
  if (typeof value !== 'string') throw new TypeError(`${key} is ${typeof value}, want a string`);
  if (value.trim() === '') throw new TypeError(`${key} is empty, want a string`);
  return value.trim();
}

function whole(key: string, value: unknown, least: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= least) return value;
  throw new RangeError(`${key} ${String(value)} is not a whole number from ${least} up`);
}

function labelName(value: unknown): string {
  const label = nonEmpty(value, 'tenantLabel');
  if (/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(label)) return label;
  throw new RangeError(`tenantLabel ${JSON.stringify(label)} is no label name: write letters, digits and underscores`);
}

function checkRecordingRules(value: unknown): void {
  if (value === undefined) return;
  const advice = "want a list such as ['error_budget:burn_rate:5m']";
  if (!Array.isArray(value)) throw new TypeError(`recordingRules is ${typeof value}, ${advice}`);
  for (const rule of value as unknown[]) {
    if (typeof rule !== 'string' || rule === '') throw new TypeError(`recordingRules holds ${JSON.stringify(rule)}, ${advice}`);
  }
}

/** A threshold below the budget itself: slowburn remarks on it, and it is no reason not to start. */
function isLow(threshold: Threshold, target: number, window: number): boolean {
  return threshold.unit !== 'budget' && burnRateOf(threshold, target, window) < 1;
}

/** The known key that takes the fewest edits to reach. */
function nearest(key: string): string {
  let best = '';
  let fewest = Infinity;
  for (const known of Object.keys(keys)) {
    const edits = distance(key.toLowerCase(), known.toLowerCase());
    if (edits < fewest) [best, fewest] = [known, edits];
  }
  return best;
}

/** Levenshtein's distance, over keys of bounded length. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (const [index, letter] of [...a.slice(0, 64)].entries()) {
    const next = [index + 1];
    for (let column = 1; column <= b.length; column++) {
      const replaced = (row[column - 1] ?? 0) + (letter === b[column - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[column] ?? 0) + 1, (next[column - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? Infinity;
}

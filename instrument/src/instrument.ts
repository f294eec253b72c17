import { readContract, type SLOOptions, type TenantOf } from './contract.js';
import { fastifyPlugin, watch, type FastifyPlugin, type HTTPOptions, type RequestLike, type ResponseLike } from './http.js';
import { ledgerOf, type Budget } from './ledger.js';
import { budgetOf } from './target.js';

/** One thing that went well or did not. */
export interface Event {
  /** Whether it went well. An SLO with a threshold may leave it out: then the duration alone decides. */
  readonly ok?: boolean | undefined;
  /** How long it took. An SLO with a threshold needs it. */
  readonly durationMs?: number | undefined;
  /** Whose it was. Default: the tenantId of the instrument. */
  readonly tenant?: string | undefined;
}

/** How a wrapped call is read. */
export interface WrapOptions<Args extends unknown[], Result> {
  /** The tenant of a call. Default: the tenantId of the instrument. */
  readonly tenant?: ((...args: Args) => string | undefined) | undefined;
  /** Whether a call that returned went well. Default: it did. One that threw or rejected never did. */
  readonly ok?: ((result: Awaited<Result>) => boolean) | undefined;
}

/**
 * Counts the events of one SLO, good and bad, for each tenant, in a registry of prom-client.
 *
 * It is cheap to make: make it once and name the tenant of each event, or make it for each request, when its
 * tenant is known. Instruments of the same SLO in the same registry count together, and must agree on what they
 * declare; a declaration that is wrong, or differs from a former one, throws ContractError.
 */
export class ErrorBudgetInstrument {
  /** The SLO's name. */
  readonly name: string;
  /** The share of events that are to go well, in (0, 1). */
  readonly target: number;
  private readonly tenantId: string | TenantOf | undefined;
  private readonly accounts: Budget;

  constructor(options: SLOOptions) {
    const contract = readContract(options);
    this.name = contract.name;
    this.target = contract.target;
    this.tenantId = options.tenantId ?? options.tenant;
    this.accounts = ledgerOf(options.registry).budget(contract);
    if (typeof this.tenantId === 'string') this.accounts.open(this.tenantId);
    // In a request without a tenant, tenantId is there and undefined: that is no service without tenants.
    else if (!('tenantId' in options || 'tenant' in options)) this.accounts.open('');
  }

  /** The share of events that may fail: 1 - target. */
  get budget(): number {
    return budgetOf(this.target);
  }

  /** Counts one event. Throws TypeError where the event lacks what the SLO is about. */
  record(event: Event): void {
    const { ok, durationMs } = event;
    const { timed } = this.accounts;
    if (typeof ok !== 'boolean' && !(timed && ok === undefined)) {
      throw new TypeError(`SLO ${this.name}: event without ok: write record({ ok: true }) or record({ ok: false })`);
    }
    if (timed && (typeof durationMs !== 'number' || Number.isNaN(durationMs))) {
      throw new TypeError(`SLO ${this.name}: event without durationMs, which its threshold is about`);
    }
    // A clock that was set back makes a duration negative: it took no time that anybody knows of.
    this.accounts.count(this.tenantOf(event), ok !== false, Math.max(0, durationMs ?? 0) / 1000);
  }

  /** Opens the accounts of tenants known in advance at zero, so that the very first failure of each shows in a rate. */
  seed(...tenants: string[]): void {
    for (const tenant of tenants) this.accounts.open(tenant);
  }

  /** Wraps a function: each call is an event, which failed if the call threw or its promise rejected. */
  wrap<This, Args extends unknown[], Result>(
    call: (this: This, ...args: Args) => Result,
    options: WrapOptions<Args, Result> = {},
  ): (this: This, ...args: Args) => Result {
    const instrument = this;
    const wrapped = function (this: This, ...args: Args): Result {
      const tenant = options.tenant === undefined ? instrument.tenantOfCall(this, args) : options.tenant.apply(this, args);
      return instrument.measure(() => call.apply(this, args), tenant, options.ok);
    };
    Object.defineProperty(wrapped, 'name', { value: call.name, configurable: true });
    Object.defineProperty(wrapped, 'length', { value: call.length, configurable: true });
    return wrapped;
  }

  /** Middleware for Express and whatever else calls (request, response, next). */
  express<Request = RequestLike>(
    options: HTTPOptions<Request> = {},
  ): (request: Request, response: ResponseLike, next: (error?: unknown) => void) => void {
    return (request, response, next) => {
      watch(this, request, response, options);
      next();
    };
  }

  /** Plugin for Fastify: app.register(budget.fastify()). */
  fastify<Request = RequestLike>(options: HTTPOptions<Request> = {}): FastifyPlugin {
    return fastifyPlugin(this, options);
  }

  /** Middleware for Koa. Its options are asked with the context. */
  koa<Context extends { readonly res: ResponseLike }>(
    options: HTTPOptions<Context> = {},
  ): (context: Context, next: () => Promise<unknown>) => Promise<unknown> {
    return (context, next) => {
      watch(this, context, context.res, options);
      return next();
    };
  }

  /** Wraps a listener of node:http: createServer(budget.http(listener)). */
  http<Request, Response extends ResponseLike>(
    listener: (request: Request, response: Response) => void,
    options: HTTPOptions<Request> = {},
  ): (request: Request, response: Response) => void {
    return (request, response) => {
      watch(this, request, response, options);
      listener(request, response);
    };
  }

  private tenantOf(event: Event): string {
    const tenant: unknown = event.tenant ?? this.tenantId;
    if (typeof tenant === 'string') return tenant;
    return tenant === undefined || typeof tenant === 'function' ? '' : String(tenant);
  }

  private tenantOfCall(self: unknown, args: unknown[]): string | undefined {
    const { tenantId } = this;
    return typeof tenantId === 'function' ? tenantId.apply(self, args as never[]) : tenantId;
  }

  private measure<Result>(call: () => Result, tenant: string | undefined, good: ((result: Awaited<Result>) => boolean) | undefined): Result {
    const begun = performance.now();
    const end = (ok: boolean): void => { this.record({ ok, durationMs: performance.now() - begun, tenant }); };
    const judge = (result: Awaited<Result>): void => { end(good === undefined || good(result)); };
    let result: Result;
    try {
      result = call();
    } catch (error) {
      end(false);
      throw error;
    }
    if (!isThenable(result)) judge(result as Awaited<Result>);
    else if (result instanceof Promise) result.then(judge, () => { end(false); });
    else return settle(result, judge, end) as Result;
    return result;
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return value !== null && typeof value === 'object' && typeof (value as { then?: unknown }).then === 'function';
}

/** A query builder runs each time that its then is called: so it is called once, and its result handed on. */
async function settle<Result>(pending: PromiseLike<unknown>, judge: (result: Awaited<Result>) => void, end: (ok: boolean) => void) {
  let result: Awaited<Result>;
  try {
    result = (await pending) as Awaited<Result>;
  } catch (error) {
    end(false);
    throw error;
  }
  judge(result);
  return result;
}

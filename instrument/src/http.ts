/** What every framework of Node answers with in the end: node:http's ServerResponse, as far as it matters here. */
export interface ResponseLike {
  readonly statusCode: number;
  once(event: 'finish' | 'close', listener: () => void): unknown;
}

/** A request that has headers, where a middleware knows nothing more of it. */
export interface RequestLike {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** How a middleware reads requests and answers. */
export interface HTTPOptions<Request> {
  /** The tenant of a request. Asked on arrival, and again at the end if it was not known then. */
  readonly tenant?: ((request: Request) => string | undefined) | undefined;
  /** Whether an answer is good. Default: status below 500. A client that left before the end reads 499. */
  readonly ok?: ((status: number) => boolean) | undefined;
  /** Requests that no SLO counts, such as those for /metrics. */
  readonly skip?: ((request: Request) => boolean) | undefined;
}

/** What Fastify offers a plugin, as far as it matters here. */
export interface FastifyLike {
  // Fastify's own types are overloads too deep to be restated.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  addHook(name: 'onRequest', hook: (request: any, reply: any, done: (error?: Error) => void) => void): unknown;
}

/** A Fastify plugin. */
export type FastifyPlugin = (instance: FastifyLike, options: unknown, done: (error?: Error) => void) => void;

/** What a middleware needs of an instrument. */
export interface Meter {
  /** Opens the accounts of tenants, at zero. */
  seed(...tenants: string[]): void;
  record(event: { readonly ok: boolean; readonly durationMs: number; readonly tenant?: string | undefined }): void;
}

/** The status under which nginx logs a client that left. */
const clientLeft = 499;

/** Watches one answer to its end and counts it. */
export function watch<Request>(meter: Meter, request: Request, response: ResponseLike, options: HTTPOptions<Request>): void {
  if (options.skip?.(request) === true) return;
  const begun = performance.now();
  const early = options.tenant?.(request);
  if (early !== undefined) meter.seed(early);
  let open = true;
  const end = (status: number): void => {
    if (!open) return;
    open = false;
    const ok = options.ok?.(status) ?? status < 500;
    meter.record({ ok, durationMs: performance.now() - begun, tenant: early ?? late(options, request) });
  };
  response.once('finish', () => { end(response.statusCode); });
  response.once('close', () => { end(clientLeft); });
}

/** Asks for the tenant at the end, where nobody is left who could answer an exception. */
function late<Request>(options: HTTPOptions<Request>, request: Request): string | undefined {
  try {
    return options.tenant?.(request);
  } catch {
    return undefined;
  }
}

/** Makes the plugin that counts every request of a Fastify instance, its siblings and children included. */
export function fastifyPlugin<Request>(meter: Meter, options: HTTPOptions<Request>): FastifyPlugin {
  const plugin: FastifyPlugin = (instance, _options, done) => {
    instance.addHook('onRequest', (request: Request, reply: { readonly raw: ResponseLike }, next) => {
      watch(meter, request, reply.raw, options);
      next();
    });
    done();
  };
  // What fastify-plugin does: the hook is for the instance that registers it, not for a child of it.
  return Object.assign(plugin, { [Symbol.for('skip-override')]: true });
}

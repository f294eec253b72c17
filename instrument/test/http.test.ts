import { EventEmitter, once } from 'node:events';
import { createServer, get, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import fastify, { type FastifyRequest } from 'fastify';
import Koa from 'koa';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ErrorBudgetInstrument } from '../src/index.js';
import { outcomesOf } from './exposition.js';

let registry: Registry;
let budget: ErrorBudgetInstrument;
const servers: Server[] = [];

beforeEach(() => {
  registry = new Registry();
  budget = new ErrorBudgetInstrument({ target: 0.995, tenantLabel: 'tenant', registry });
});

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
});

async function listening(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Asks for each path as the tenant named before it. */
async function ask(url: string, ...requests: string[]): Promise<number[]> {
  const statuses = [];
  for (const request of requests) {
    const [tenant = '', path = ''] = request.split(' ');
    const answer = await fetch(url + path, { headers: tenant === '-' ? {} : { 'x-tenant-id': tenant } });
    await answer.text();
    statuses.push(answer.status);
  }
  return statuses;
}

const requests = ['acme /ok', 'acme /fail', 'globex /ok', 'acme /none', '- /ok', 'acme /metrics'];
const statuses = [200, 503, 200, 404, 200, 200];
const counted = { acme: '2/1', globex: '1/0', '-': '1/0' };

const byHeader = (request: { headers: Record<string, unknown> }): string | undefined => request.headers['x-tenant-id'] as string | undefined;

describe('each framework counts the same', () => {
  test('express', async () => {
    const app = express();
    app.use(budget.express({ tenant: (request: express.Request) => request.get('x-tenant-id'), skip: ({ path }) => path === '/metrics' }));
    app.get('/ok', (_request, response) => { response.send('ok'); });
    app.get('/fail', (_request, response) => { response.status(503).send('down'); });
    app.get('/metrics', (_request, response) => { response.send('metrics'); });
    expect(await ask(await listening(app), ...requests)).toEqual(statuses);
    expect(await outcomesOf(registry)).toEqual(counted);
  });

  test('fastify, in children of the instance too', async () => {
    const app = fastify();
    const tenant = (request: FastifyRequest) => byHeader(request);
    await app.register(budget.fastify({ tenant, skip: ({ url }) => url === '/metrics' }));
    await app.register(async (child) => {
      child.get('/ok', async () => 'ok');
      child.get('/fail', async (_request, reply) => reply.code(503).send('down'));
    });
    app.get('/metrics', async () => 'metrics');
    await app.ready();
    expect(await ask(await listening((request, response) => { app.routing(request, response); }), ...requests)).toEqual(statuses);
    expect(await outcomesOf(registry)).toEqual(counted);
    expect((await app.inject({ url: '/fail', headers: { 'x-tenant-id': 'acme' } })).statusCode).toBe(503);
    expect(await outcomesOf(registry)).toEqual({ ...counted, acme: '2/2' });
  });

  test('koa, exceptions included', async () => {
    const app = new Koa({ proxy: false });
    app.silent = true;
    app.use(budget.koa({ tenant: (context: Koa.Context) => byHeader(context), skip: ({ path }) => path === '/metrics' }));
    app.use((context) => {
      if (context.path === '/fail') throw Object.assign(new Error('down'), { status: 503 });
      if (context.path !== '/none') context.body = 'ok';
    });
    expect(await ask(await listening(app.callback()), ...requests)).toEqual(statuses);
    expect(await outcomesOf(registry)).toEqual(counted);
  });

  test('node:http', async () => {
    const listener = (request: IncomingMessage, response: ServerResponse): void => {
      response.statusCode = { '/fail': 503, '/none': 404 }[request.url ?? ''] ?? 200;
      response.end();
    };
    const url = await listening(budget.http(listener, { tenant: byHeader, skip: ({ url }) => url === '/metrics' }));
    expect(await ask(url, ...requests)).toEqual(statuses);
    expect(await outcomesOf(registry)).toEqual(counted);
  });
});

/** A response that ends when it is told to. */
class FakeResponse extends EventEmitter {
  statusCode = 200;
}

describe('one answer', () => {
  const pass = (): void => {};

  test('a tenant is at zero from the arrival of its first request', async () => {
    budget.express({ tenant: () => 'acme' })({ headers: {} }, new FakeResponse(), pass);
    expect(await outcomesOf(registry)).toEqual({ acme: '0/0' });
  });

  test('is counted once, though it finishes and closes', async () => {
    const response = new FakeResponse();
    budget.express({ tenant: () => 'acme' })({ headers: {} }, response, pass);
    response.emit('finish');
    response.emit('close');
    expect(await outcomesOf(registry)).toEqual({ acme: '1/0' });
  });

  test('whose client left reads 499: good, unless ok says otherwise', async () => {
    for (const [tenant, ok] of [['acme', undefined], ['globex', (status: number) => status < 499]] as const) {
      const response = new FakeResponse();
      budget.express({ tenant: () => tenant, ok })({ headers: {} }, response, pass);
      response.emit('close');
    }
    expect(await outcomesOf(registry)).toEqual({ acme: '1/0', globex: '0/1' });
  });

  test('has the tenant that is known at its end, where none was known on arrival', async () => {
    const request: { headers: object; user?: string } = { headers: {} };
    const response = new FakeResponse();
    budget.express({ tenant: ({ user }: typeof request) => user })(request, response, pass);
    request.user = 'acme';
    response.emit('finish');
    expect(await outcomesOf(registry)).toEqual({ acme: '1/0' });
  });

  test('ends well though the tenant cannot be told', async () => {
    let asked = 0;
    const response = new FakeResponse();
    const tenant = (): undefined => { if (asked++ > 0) throw new Error('no session'); };
    budget.express({ tenant })({ headers: {} }, response, pass);
    response.emit('finish');
    expect(await outcomesOf(registry)).toEqual({ '-': '1/0' });
  });

  test('a request that was cut off by its client is counted when its connection closes', async () => {
    const arrived = new EventEmitter();
    const url = await listening(budget.http(() => { arrived.emit('request'); }, { tenant: () => 'acme', ok: (status: number) => status !== 499 }));
    const seen = once(arrived, 'request');
    const request = get(url).on('error', pass);
    await seen;
    request.destroy();
    await expect.poll(() => outcomesOf(registry)).toEqual({ acme: '0/1' });
  });
});

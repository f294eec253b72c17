/** Declares SLOs in TypeScript services and counts the events that spend their error budgets. */
export { ContractError, type AnyRegistry, type ContractOptions, type SLOOptions, type TenantOf } from './contract.js';
export { errorBudgetOf, SLO, type SLODecorator } from './decorator.js';
export type { FastifyLike, FastifyPlugin, HTTPOptions, RequestLike, ResponseLike } from './http.js';
export { ErrorBudgetInstrument, type Event, type WrapOptions } from './instrument.js';
export { defaults, outcomes, pooledTenant, signals } from './signals.js';
export type { BurnRateThreshold } from './threshold.js';

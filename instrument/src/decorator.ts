import type { SLOOptions } from './contract.js';
import { ErrorBudgetInstrument } from './instrument.js';

/** A class, whatever it is made from. */
type Class = abstract new (...args: never[]) => unknown;

/** A decorator for classes and methods, by TypeScript's older standard (experimentalDecorators) and by TC39's. */
export interface SLODecorator {
  (value: Class, context: ClassDecoratorContext): void;
  <This, Args extends unknown[], Result>(
    value: (this: This, ...args: Args) => Result,
    context: ClassMethodDecoratorContext<This, (this: This, ...args: Args) => Result>,
  ): (this: This, ...args: Args) => Result;
  (value: Class): void;
  <Method>(owner: object, key: string | symbol, descriptor: TypedPropertyDescriptor<Method>): void;
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

/** What classes declare, by SLO name. */
const declared = new WeakMap<object, Map<string, ErrorBudgetInstrument>>();

/**
 * Declares an SLO. On a method, each call is an event, which failed if the call threw or its promise rejected.
 * On a class, it declares and exports the objective; errorBudgetOf gives the instrument to count with.
 */
export function SLO(options: SLOOptions): SLODecorator {
  const instrument = new ErrorBudgetInstrument(options);

  function decorate(value: unknown, context?: unknown, descriptor?: PropertyDescriptor): unknown {
    const kind = kindOf(context);
    if (kind === 'method') return onMethod(value as Method);
    if (kind === 'class' || (context === undefined && typeof value === 'function')) return onClass(value as Class);
    if (kind === undefined && typeof descriptor?.value === 'function') {
      descriptor.value = onMethod(descriptor.value as Method);
      return undefined;
    }
    throw new TypeError(`@SLO ${instrument.name} is on a ${kind ?? 'property'}: write it on a class or a method`);
  }

  function onMethod(method: Method): Method {
    const wrapped = instrument.wrap(method);
    copyMetadata(method, wrapped);
    return wrapped;
  }

  function onClass(declaring: Class): void {
    const instruments = declared.get(declaring) ?? new Map<string, ErrorBudgetInstrument>();
    declared.set(declaring, instruments.set(instrument.name, instrument));
  }

  return decorate as SLODecorator;
}

/**
 * The instrument that @SLO declared on a class or on one that it extends. A class that declares several SLOs
 * needs the name of the one that is meant.
 */
export function errorBudgetOf(declaring: Class, name?: string): ErrorBudgetInstrument {
  for (let at: object | null = declaring; at !== null; at = Object.getPrototypeOf(at) as object | null) {
    const instruments = declared.get(at);
    if (instruments === undefined) continue;
    const found = name === undefined && instruments.size === 1 ? [...instruments.values()][0] : instruments.get(name ?? '');
    if (found !== undefined) return found;
    const names = [...instruments.keys()].join(', ');
    throw new TypeError(`class ${declaring.name} declares the SLOs ${names}: ${name === undefined ? 'name one' : `none is ${name}`}`);
  }
  throw new TypeError(`class ${declaring.name} declares no SLO: decorate it with @SLO`);
}

/** The kind of a TC39 context; undefined where there is none, as in the older standard. */
function kindOf(context: unknown): string | undefined {
  if (typeof context !== 'object' || context === null) return undefined;
  const { kind } = context as { kind?: unknown };
  return typeof kind === 'string' ? kind : undefined;
}

/** What reflect-metadata adds to Reflect, as far as it matters here. */
interface MetadataReflect {
  getOwnMetadataKeys?(target: object): unknown[];
  getOwnMetadata?(key: unknown, target: object): unknown;
  defineMetadata?(key: unknown, value: unknown, target: object): void;
}

/** NestJS keeps a handler's route on the function itself: the wrapper must carry it on. */
function copyMetadata(from: object, to: object): void {
  const reflect = Reflect as MetadataReflect;
  for (const key of reflect.getOwnMetadataKeys?.(from) ?? []) {
    reflect.defineMetadata?.(key, reflect.getOwnMetadata?.(key, from), to);
  }
}

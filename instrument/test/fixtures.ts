import { readFileSync } from 'node:fs';

/** Reads a file that the tests of both languages share. */
export function fixture<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../fixtures/${name}`, import.meta.url), 'utf8')) as T;
}

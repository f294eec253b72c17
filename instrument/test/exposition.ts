import type { AnyRegistry } from '../src/index.js';

/** The samples of one metric as a scrape shows them, by their labels in short: 'slo tenant outcome' → value. */
export async function samples(registry: AnyRegistry, metric: string): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const line of (await registry.metrics()).split('\n')) {
    const [, name, labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (name !== metric) continue;
    const values = [...labels.matchAll(/\w+="([^"]*)"/g)].map(([, label]) => (label === '' ? '-' : label));
    found[values.join(' ')] = Number(value);
  }
  return found;
}

/** Good and bad events by tenant, of the SLO named, as 'good/bad'. */
export async function outcomesOf(registry: AnyRegistry, slo = 'availability'): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const all = await samples(registry, 'error_budget_events_total');
  for (const key of Object.keys(all)) {
    const [name, tenant = ''] = key.split(' ');
    if (name === slo) found[tenant] = `${all[`${slo} ${tenant} good`]}/${all[`${slo} ${tenant} bad`]}`;
  }
  return found;
}

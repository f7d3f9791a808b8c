/** Labels of one series. */
export type Labels = Readonly<Record<string, string | number>>;

/** One value of a family. */
export interface Reading {
  readonly labels?: Labels;
  readonly value: number;
}

export interface Counter {
  /** Adds `n` (1 by default) to the series of these labels. */
  add(n?: number, labels?: Labels): void;
}
export interface Histogram {
  observe(value: number, labels?: Labels): void;
}

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  /** Lines of the family, without its head. */
  lines(): string[] | Promise<string[]>;
}

/** Series of one family: labels come from bounded sets, so more than this is a mistake that must not eat the memory. */
const SERIES_MAX = 2000;

/**
 * Counters, gauges and histograms, and their text in the Prometheus exposition format 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/). Rooms get it handed over; names end in their unit.
 */
export class Metrics {
  readonly #families = new Map<string, Family>();
  #failures = 0;

  /** A number that only grows; its name ends in "_total". */
  counter(name: string, help: string): Counter {
    const series = new Map<string, number>();
    if (!name.endsWith("_total")) throw new Error(`a counter's name ends in _total: ${name}`);
    this.#add({
      name,
      help,
      type: "counter",
      lines: () => [...series].map(([key, value]) => `${name}${key} ${value}`),
    });
    return {
      add(n = 1, labels) {
        const key = labelText(labels);
        const before = series.get(key);
        if (before !== undefined || series.size < SERIES_MAX) series.set(key, (before ?? 0) + n);
      },
    };
  }

  /** A counter that somebody else counts, read at each scrape. */
  reading(name: string, help: string, read: () => readonly Reading[]): void {
    if (!name.endsWith("_total")) throw new Error(`a counter's name ends in _total: ${name}`);
    this.#add({
      name,
      help,
      type: "counter",
      lines: () => read().map(({ labels, value }) => `${name}${labelText(labels)} ${numberText(value)}`),
    });
  }

  /** A number read anew at each scrape; one that cannot be read is left out, never shown as its old value. */
  gauge(name: string, help: string, read: () => readonly Reading[] | Promise<readonly Reading[]>): void {
    this.#add({
      name,
      help,
      type: "gauge",
      lines: async () => (await read()).map(({ labels, value }) => `${name}${labelText(labels)} ${numberText(value)}`),
    });
  }

  /** Observations counted into cumulative buckets; `bounds` ascend, the last bucket (+Inf) is added. */
  histogram(name: string, help: string, bounds: readonly number[]): Histogram {
    const series = new Map<string, { labels: Labels; counts: number[]; sum: number }>();
    this.#add({
      name,
      help,
      type: "histogram",
      lines: () => [...series.values()].flatMap((one) => histogramLines(name, bounds, one)),
    });
    return {
      observe(value, labels = {}) {
        const key = labelText(labels);
        const one = series.get(key) ?? { labels, counts: new Array<number>(bounds.length + 1).fill(0), sum: 0 };
        if (!series.has(key) && series.size >= SERIES_MAX) return;
        series.set(key, one);
        const at = bounds.findIndex((bound) => value <= bound);
        one.counts[at < 0 ? bounds.length : at]! += 1;
        one.sum += value;
      },
    };
  }

  /** The whole exposition; families in the order of their names. */
  async render(): Promise<string> {
    const parts: string[] = [];
    const families = [...this.#families.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
    for (const family of families) {
      try {
        const lines = await family.lines();
        if (lines.length > 0) parts.push(head(family), ...lines);
      } catch {
        // The scrape must tell what it can; that a family is missing is itself a number below.
        this.#failures += 1;
      }
    }
    const failures = {
      name: "bellwether_metrics_failures_total",
      help: "Families that could not be read.",
      type: "counter",
    };
    parts.push(head(failures), `${failures.name} ${this.#failures}`);
    return `${parts.join("\n")}\n`;
  }

  #add(family: Family): void {
    if (!/^[a-z][a-z0-9_]*$/.test(family.name)) throw new Error(`not a metric name: ${family.name}`);
    if (this.#families.has(family.name)) throw new Error(`two metrics are called ${family.name}`);
    this.#families.set(family.name, family);
  }
}

function head({ name, help, type }: { name: string; help: string; type: string }): string {
  return `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n# TYPE ${name} ${type}`;
}

function histogramLines(
  name: string,
  bounds: readonly number[],
  { labels, counts, sum }: { labels: Labels; counts: readonly number[]; sum: number },
): string[] {
  let total = 0;
  const buckets = counts.map((count, i) => {
    total += count;
    return `${name}_bucket${labelText({ ...labels, le: numberText(bounds[i] ?? Number.POSITIVE_INFINITY) })} ${total}`;
  });
  return [
    ...buckets,
    `${name}_sum${labelText(labels)} ${numberText(sum)}`,
    `${name}_count${labelText(labels)} ${total}`,
  ];
}

function labelText(labels: Labels | undefined): string {
  const pairs = Object.entries(labels ?? {}).map(([name, value]) => {
    const text = String(value).replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
    return `${name}="${text}"`;
  });
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  if (value === Number.NEGATIVE_INFINITY) return "-Inf";
  return String(value);
}

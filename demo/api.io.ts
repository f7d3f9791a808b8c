import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";

/** The fleet server's REST API with one token. */
export interface Api {
  get<T>(path: string): Promise<T>;
  post<T>(path: string, body?: unknown): Promise<T>;
  put<T>(path: string, body: unknown): Promise<T>;
  /** The lines of an NDJSON export, parsed. */
  lines<T>(path: string): AsyncIterable<T>;
  /** Every item of a paginated list. */
  all<T>(path: string): Promise<T[]>;
}

/** A client for the server at `url`. A problem answer is thrown with its code. */
export function createApi(url: string, token: string): Api {
  async function call(method: string, path: string, body?: unknown): Promise<Response> {
    const answer = await fetch(new URL(path, url), {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer;
  }
  const get = async <T>(path: string) => (await (await call("GET", path)).json()) as T;
  return {
    get,
    post: async <T>(path: string, body?: unknown) => (await (await call("POST", path, body)).json()) as T,
    put: async <T>(path: string, body: unknown) => (await (await call("PUT", path, body)).json()) as T,
    async *lines<T>(path: string) {
      const answer = await call("GET", path);
      if (!answer.body) return;
      for await (const line of createInterface({ input: Readable.fromWeb(answer.body) })) {
        if (line !== "") yield JSON.parse(line) as T;
      }
    },
    async all<T>(path: string) {
      const items: T[] = [];
      const glue = path.includes("?") ? "&" : "?";
      let cursor = "";
      do {
        const page = await get<{ items: T[]; next?: string }>(`${path}${glue}limit=1000${cursor}`);
        items.push(...page.items);
        cursor = page.next ? `&cursor=${encodeURIComponent(page.next)}` : "";
      } while (cursor !== "");
      return items;
    },
  };
}

/** Asks again and again until the answer is not undefined; gives up with a sentence. */
export async function until<T>(what: string, ask: () => Promise<T | undefined>, limitMs: number): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) throw new Error(`gave up after ${Math.round(limitMs / 1000)} s: ${what}`);
    await wait(200);
  }
}

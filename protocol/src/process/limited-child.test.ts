import { spawn } from "node:child_process";
import { describe, expect, test } from "vitest";
import { askLimitedChild, type ChildLimits } from "./limited-child.io.ts";
import type { ChildOptions } from "./roles.io.ts";

/** A child that runs this text when its task comes, through the same shell line as a role would. */
function childOf(script: string, limit = "ulimit -c 0; ulimit -d $0") {
  return ({ ulimits, ...options }: ChildOptions) => {
    const limited = `${limit}; exec "$@"`;
    return spawn(
      "/bin/sh",
      ["-c", limited, String(Math.ceil(ulimits!.dataBytes! / 1024)), process.execPath, "-e", script],
      options,
    );
  };
}
const LIMITS: ChildLimits = { memoryBytes: 256 * 1024 * 1024, cpuMs: 20_000, wallMs: 60_000 };
const ask = (body: string, limits: Partial<ChildLimits> = {}, signal?: AbortSignal) =>
  askLimitedChild(childOf(`process.on("message", (task) => { ${body} })`), { n: 2 }, { ...LIMITS, ...limits }, signal);
const codeOf = async (outcome: ReturnType<typeof ask>) => {
  const result = await outcome;
  return result.ok ? result.value : result.error.code;
};

describe("a child in limits", () => {
  test("gets its task and answers once", async () => {
    const result = await ask("process.send(task.n + 1); process.send(99);");
    expect(result).toMatchObject({ ok: true, value: { answer: 3 } });
    if (result.ok) expect(result.value.peakBytes).toBeGreaterThan(1024 * 1024);
  });

  test("that takes memory bit by bit is killed near its limit, also where the kernel sets none", async () => {
    // Ends by itself at 900 MB, which nobody should let it reach.
    const grow = `const all = [];
      setInterval(() => all.push(Buffer.alloc(4 << 20, 1)) > 225 && process.send("nobody looked"), 2);`;
    const start = childOf(`process.on("message", () => { ${grow} })`, "true");
    const result = await askLimitedChild(start, {}, LIMITS);
    expect(result).toMatchObject({ error: { code: "CHILD_MEMORY_EXCEEDED", detail: { limitMb: 256 } } });
  });

  test("that wants 2 GB at once does not get it", async () => {
    expect(await codeOf(ask("process.send(Buffer.alloc(2 ** 31, 1).length);"))).toMatch(
      /^CHILD_(DIED|MEMORY_EXCEEDED)$/,
    );
  });

  test("that fills its heap is told from other deaths", async () => {
    const grow = "const all = []; for (;;) all.push({});";
    expect(await codeOf(ask(grow, { memoryBytes: 512 * 1024 * 1024 }))).toBe("CHILD_MEMORY_EXCEEDED");
  });

  test("that computes without end is killed by its own time, which others that keep the machine busy do not use up", async () => {
    expect(await codeOf(ask("for (;;);", { cpuMs: 500 }))).toBe("CHILD_TIME_EXCEEDED");
  });

  test("that got no processor is ended, too, and nothing is said against its task", async () => {
    const result = await ask("setTimeout(() => process.send(1), 60_000);", { cpuMs: 5_000, wallMs: 500 });
    expect(result).toMatchObject({ error: { code: "CHILD_STARVED", detail: { wallMs: 500 } } });
  });

  test("that dies says how", async () => {
    const result = await ask('console.error("no such luck"); process.exit(3);');
    expect(result).toMatchObject({ error: { code: "CHILD_DIED", detail: { reason: "exit code 3: no such luck" } } });
  });

  test("is killed when nobody wants its answer any more", async () => {
    const aborter = new AbortController();
    const outcome = codeOf(ask("for (;;);", {}, aborter.signal));
    aborter.abort();
    expect(await outcome).toBe("CHILD_DIED");
  });

  test("does not see the program's secrets", async () => {
    process.env["BELLWETHER_TOKEN"] = "secret";
    const result = await ask("process.send(process.env.BELLWETHER_TOKEN ?? 'nothing');");
    delete process.env["BELLWETHER_TOKEN"];
    expect(result).toMatchObject({ value: { answer: "nothing" } });
  });
});

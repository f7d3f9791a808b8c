import { expect, test } from "vitest";
import { createLogger } from "./log.ts";

function logged(write: (log: ReturnType<typeof createLogger>) => void) {
  const lines: string[] = [];
  write(createLogger({ level: "info", nowMs: () => 0, write: (line) => lines.push(line), fields: { thread: "main" } }));
  return lines.map((line) => JSON.parse(line));
}

test("a line is one JSON object with time, level, message and fields", () => {
  expect(logged((log) => log.info("link is online", { attempts: 2 }))).toEqual([
    { at: "1970-01-01T00:00:00.000Z", level: "info", msg: "link is online", thread: "main", attempts: 2 },
  ]);
});

test("lines below the level are not written", () => {
  expect(logged((log) => log.debug("x"))).toEqual([]);
});

test("no secret is written, however deep", () => {
  const text = JSON.stringify(
    logged((log) =>
      log.warn("login", { password: "hunter2", deep: [{ enrolmentToken: "hunter2", signatureHex: "hunter2" }] }),
    ),
  );
  expect(text).not.toContain("hunter2");
  expect(text).toContain("[hidden]");
});

test("neither a cycle, a bigint, an error nor a megabyte breaks the log", () => {
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  const lines = logged((log) => {
    log.error("cycle", cycle);
    log.error("big", { n: 5n, error: new Error("boom") });
    log.error("long", { text: "x".repeat(1_000_000) });
  });
  expect(lines[0]).toMatchObject({ msg: "cycle", unserialisable: true });
  expect(lines[1]).toMatchObject({ n: "5", error: { message: "boom" } });
  expect(JSON.stringify(lines[2]).length).toBeLessThan(20_000);
});

/**
 * A raw log: the bytes of each group of rows, made ready before, appended with one write and one fdatasync.
 * `node test/bench/outbox/log.ts` prints rows a second.
 */
import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { measure } from "./rows.ts";

measure((folder) => {
  const log = openSync(join(folder, "log"), "a");
  let bytes: Buffer | undefined;
  return {
    append(group) {
      bytes ??= Buffer.from(group.map((row) => `${JSON.stringify(row)}\n`).join(""));
      writeSync(log, bytes);
      fdatasyncSync(log);
    },
    close: () => closeSync(log),
  };
});

import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect } from "vitest";
import type { Bellwether } from "./bellwether.ts";
import { temporaryFolder } from "./folder.ts";
import { runProcess } from "./processes.ts";

/** Commands of the first block in docs/RELEASE-KEYS.md after a text, as they stand there, without their comments. */
function manual(after: string): readonly string[] {
  const text = readFileSync(resolve(import.meta.dirname, "../../docs/RELEASE-KEYS.md"), "utf8");
  const from = text.indexOf(after);
  expect(from, `the manual's "${after}"`).toBeGreaterThan(0);
  const block = /```sh\n(.*?)```/s.exec(text.slice(from))?.[1] ?? "";
  return block
    .replaceAll(/\s+#.*$/gm, "")
    .replaceAll(/\\\n\s*/g, "")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line.startsWith("npx bellwether "));
}

/** A folder with a server's data directory, and a separate one for the machine of the keys. */
export function ceremony() {
  const folder = temporaryFolder("bellwether-keys-");
  const passphrase = join(folder, "passphrase");
  writeFileSync(passphrase, "correct horse battery\n", { mode: 0o600 });
  const dir = join(folder, "server");
  const env: Record<string, string> = {};
  async function attempt(...args: string[]) {
    const { ended, stdout, stderr } = await runProcess("bellwether", args, { env, cwd: folder });
    return { ended, stdout, stderr };
  }
  /** A command that must succeed; what it said. */
  async function run(...args: string[]): Promise<string> {
    const { ended, stdout, stderr } = await attempt(...args);
    expect(ended, `${args.join(" ")}: ${stderr}`).toBe(0);
    return `${stdout}${stderr}`;
  }
  return {
    ...{ folder, dir, attempt, run },
    /** The same with a folder of keys and their passphrase; files in, files out. */
    sign: (keys: string, ...args: string[]) =>
      run(...args, "--keys", join(folder, keys), "--passphrase-file", passphrase),
    /** Runs the manual's own commands, its example paths and words replaced; what each said. */
    async follow(after: string, words: Readonly<Record<string, string>> = {}): Promise<readonly string[]> {
      const replaced = { "/var/lib/bellwether": dir, "/media": folder, ...words };
      const said: string[] = [];
      for (const line of manual(after)) {
        let text = line.replace("npx bellwether ", "");
        for (const [from, to] of Object.entries(replaced)) text = text.replaceAll(from, to);
        said.push(await run(...text.split(/\s+/)));
      }
      return said;
    },
    reach(server: Bellwether) {
      Object.assign(env, { BELLWETHER_URL: server.url, BELLWETHER_TOKEN: server.admin });
    },
  };
}

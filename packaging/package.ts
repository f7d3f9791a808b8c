import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import packageJson from "../agent/package.json" with { type: "json" };
import { buildDeb } from "./deb.io.ts";
import { buildExecutable } from "./executable.io.ts";
import { thirdPartyNotices } from "./licences.io.ts";
import { ROOT } from "./run.io.ts";

const HELP = `npm run package [-- --out DIR --level N]

Makes the agent's executable for this machine and its .deb. Needs npm ci and, of Debian, binutils and dpkg.

  --out DIR   where both go (dist)
  --level N   xz's level, 0 to 9 (6): 1 is quick, and a fifth larger
`;

const { values } = parseArgs({
  options: {
    out: { type: "string", default: join(ROOT, "dist") },
    level: { type: "string", default: "6" },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  process.stdout.write(HELP);
} else {
  try {
    build(resolve(values.out), Number(values.level));
  } catch (cause) {
    process.stderr.write(`${(cause as Error).message}\n`);
    process.exitCode = 1;
  }
}

/** Makes both, and prints where they are as one line of JSON. */
function build(out: string, level: number): void {
  mkdirSync(out, { recursive: true });
  const program = join(out, "bellwether-agent");
  const notices = thirdPartyNotices(buildExecutable(program));
  const deb = buildDeb({ program, notices, version: packageJson.version, into: out, level });
  process.stdout.write(`${JSON.stringify({ executable: join(program, "bellwether-agent"), deb })}\n`);
}

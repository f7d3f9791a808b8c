import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { problem } from "@bellwether/protocol/errors.ts";
import type { Result } from "@bellwether/protocol/result.ts";
import { isDeviceName } from "@bellwether/protocol/topics.ts";
import { Command, InvalidArgumentError } from "commander";
import { parseLabel, writeLabels } from "../labels.io.ts";
import type { EnrolOptions, enrol } from "../link/enrol.io.ts";
import { failWith, stateOption } from "./options.ts";

/** Finds the CA to pin and the way through the proxy; `cli.ts` gives the real one. */
export type ReachServer = (options: {
  readonly url: string;
  readonly ca?: string;
  readonly config?: string;
  readonly state: string;
}) => Promise<Result<Pick<EnrolOptions, "reach" | "ca">>>;

const TOKEN_CHARACTERS_MAX = 256;

/** `bellwether-agent enroll`: makes the device's key and makes it known to a server. The token comes from a file only. */
export function enrollCommand(enrolDevice: typeof enrol, reachServer: ReachServer): Command {
  return new Command("enroll")
    .description("make this device's key and enrol it with a fleet server")
    .requiredOption("--url <url>", "the server's address, such as http://127.0.0.1:8080", httpUrl)
    .requiredOption("--token-file <file>", 'file that holds the enrolment token; "-" reads standard input')
    .requiredOption("--device <name>", "the device's name", deviceName)
    .option("--serial <text>", "the device's serial number, where the token asks for one")
    .option("--ca <file>", "the server's CA that is pinned: a PEM file, or its fingerprint sha256:…")
    .option("--config <file>", "the agent's configuration, where link.proxy leads to the server")
    .option("--label <key=value>", "what selectors may know of the device; may be repeated", label, {})
    .addOption(stateOption())
    .action(
      async (options: {
        url: string;
        tokenFile: string;
        device: string;
        serial?: string;
        ca?: string;
        config?: string;
        label: Record<string, string>;
        state: string;
      }) => {
        const { username, password } = new URL(options.url);
        if (username !== "" || password !== "") {
          // Not where options are parsed: there the refusal would repeat the secret.
          const expected = "it must hold no user and no password";
          return failWith(problem("ARGUMENT_INVALID", { name: "--url", expected }));
        }
        const token = readToken(options.tokenFile);
        if (token === undefined) {
          return failWith(problem("TOKEN_UNREADABLE", { file: options.tokenFile }));
        }
        const reached = await reachServer(options);
        if (!reached.ok) return failWith(reached.error);
        const enrolled = await enrolDevice({
          ...reached.value,
          stateDir: resolve(options.state),
          serverUrl: options.url,
          token,
          device: options.device,
          ...(options.serial === undefined ? {} : { serial: options.serial }),
          nowMs: Date.now,
        });
        if (!enrolled.ok) return failWith(enrolled.error);
        if (Object.keys(options.label).length > 0) writeLabels(resolve(options.state), options.label);
        const { device, site, phase, brokerId } = enrolled.value;
        process.stdout.write(`${JSON.stringify({ device, site, phase, brokerId })}\n`);
        if (phase === "pending")
          process.stderr.write("Enrolled; an operator must approve the device before it may connect.\n");
      },
    );
}

/** The token that a file holds; "-" is standard input. */
export function readToken(file: string): string | undefined {
  try {
    // The descriptor, not /dev/stdin: that would be opened anew, which a socket or another user's pipe does not allow.
    const token = readFileSync(file === "-" ? 0 : file, "utf8").trim();
    return token.length > 0 && token.length <= TOKEN_CHARACTERS_MAX ? token : undefined;
  } catch {
    return undefined; // said as TOKEN_UNREADABLE
  }
}

function label(text: string, before: Readonly<Record<string, string>>): Record<string, string> {
  const parsed = parseLabel(text);
  if (parsed === undefined) throw new InvalidArgumentError("It must be key=value, the key of A-Z a-z 0-9 . _ -");
  return { ...before, [parsed[0]]: parsed[1] };
}

function httpUrl(text: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new InvalidArgumentError("It must be an http:// or https:// address.");
  }
  return text;
}

function deviceName(text: string): string {
  if (!isDeviceName(text)) throw new InvalidArgumentError('It must be 1 to 64 of A-Z a-z 0-9 . _ - and not "feed".');
  return text;
}

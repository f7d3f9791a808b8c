import { parseArgs } from "node:util";

/** A server that runs already. */
export interface OtherServer {
  readonly url: string;
  readonly tokenFile: string;
  /** A released version that the share of downloads is given; without it nothing is downloaded. */
  readonly rollOut: { readonly model: string; readonly version: string } | undefined;
}

export interface LoadOptions {
  readonly devices: number;
  /** Rows a second of each device. */
  readonly rate: number;
  readonly minutes: number;
  readonly seed: number;
  /** Share of the devices that download a released model, 0 to 1. */
  readonly downloads: number;
  readonly modelMb: number;
  readonly output: "text" | "json";
  /** Absent: a server of its own is started. */
  readonly server: OtherServer | undefined;
}

export const USAGE = `npm run load -- --devices N --rate R --minutes M
  --devices N        devices, each with an enrolment, a connection and an outbox of its own (10)
  --rate R           rows a second of each device (1)
  --minutes M        how long rows are made once every device has enrolled (1)
  --downloads F      share of the devices that download and activate a released model (0.1)
  --model-mb MB      size of that model, where a server of its own is started (1)
  --seed S           another seed, other values (1)
  -o json            the result as one JSON line on standard output
  --url URL --token-file FILE   use a server that runs, as an administrator; without them one is started
  --roll-out MODEL@VERSION      with --url: the released version to download (that server keeps its release keys elsewhere)`;

const BOUNDS = {
  devices: [1, 100_000],
  rate: [0.001, 1_000],
  minutes: [0.01, 100_000],
  seed: [0, 2_147_483_647],
  downloads: [0, 1],
  "model-mb": [0, 200],
} as const;
const WHOLE: ReadonlySet<string> = new Set(["devices", "seed", "model-mb"]);

/** What the command line asks for; "help", or a sentence that says what is wrong with it. */
export function parseOptions(args: readonly string[]): LoadOptions | "help" | { readonly wrong: string } {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        devices: { type: "string", default: "10" },
        rate: { type: "string", default: "1" },
        minutes: { type: "string", default: "1" },
        downloads: { type: "string", default: "0.1" },
        "model-mb": { type: "string", default: "1" },
        seed: { type: "string", default: "1" },
        output: { type: "string", short: "o", default: "text" },
        url: { type: "string" },
        "token-file": { type: "string" },
        "roll-out": { type: "string" },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    if (values.help) return "help";
    const number = (name: keyof typeof BOUNDS) => {
      const [least, most] = BOUNDS[name];
      const value = Number(values[name]);
      const fits = values[name].trim() !== "" && value >= least && value <= most;
      if (fits && (!WHOLE.has(name) || Number.isInteger(value))) return value;
      throw new Error(`--${name} must be a ${WHOLE.has(name) ? "whole " : ""}number from ${least} to ${most}`);
    };
    const { output } = values;
    if (output !== "text" && output !== "json") throw new Error("--output must be text or json");
    return {
      devices: number("devices"),
      rate: number("rate"),
      minutes: number("minutes"),
      seed: number("seed"),
      downloads: number("downloads"),
      modelMb: number("model-mb"),
      output,
      server: otherServer(values.url, values["token-file"], values["roll-out"]),
    };
  } catch (cause) {
    return { wrong: (cause as Error).message };
  }
}

function otherServer(
  url: string | undefined,
  tokenFile: string | undefined,
  rollOut: string | undefined,
): OtherServer | undefined {
  if (url === undefined && tokenFile === undefined && rollOut === undefined) return undefined;
  if (url === undefined || tokenFile === undefined) throw new Error("--url and --token-file belong together");
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) throw new Error("--url must begin with http:// or https://");
  if (rollOut === undefined) return { url, tokenFile, rollOut: undefined };
  const [, model, version] = /^([^@]+)@(\d+)$/.exec(rollOut) ?? [];
  if (model === undefined || version === undefined) throw new Error("--roll-out must be MODEL@VERSION");
  return { url, tokenFile, rollOut: { model, version } };
}

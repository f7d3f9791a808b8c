import { parseArgs } from "node:util";
import { CHANGES } from "./plant.ts";

/** Ways to make a model worthless that no signature, check or golden vector can see. */
export const BAD_MODELS = ["shuffled", "constant", "sign-flipped", "noise"] as const;
export type BadModel = (typeof BAD_MODELS)[number];

/** What happens to one cohort's process in the second half of the story. */
export const DRIFTS = ["none", ...CHANGES] as const;
export type Drift = (typeof DRIFTS)[number];

const COHORTS = ["A", "B"] as const;

export interface Options {
  readonly help: boolean;
  readonly seed: number;
  readonly keep: boolean;
  readonly json: string | undefined;
  readonly badModel: BadModel;
  readonly cmapss: string | undefined;
  readonly drift: Drift;
  readonly driftCohort: (typeof COHORTS)[number];
}

export const USAGE = `npm run demo -- [options]
  --seed N            another plant (default 1)
  --bad-model KIND    ${BAD_MODELS.join(" | ")} (default shuffled)
  --drift KIND        what changes on one cohort: ${DRIFTS.join(" | ")} (default offset; NASA's engines: none)
  --drift-cohort C    on which cohort: ${COHORTS.join(" | ")} (default B)
  --cmapss DIR        NASA's turbofan engines instead of the simulated plant: train_FD001.txt, test_FD001.txt, RUL_FD001.txt
  --json FILE         write the report there
  --keep              leave it running; URL and token are printed
  --help              this list

Exit code: 0 every promise held, 1 one did not or the story broke off, 2 the command line is wrong, 130 or 143 interrupted.`;

/** Parses the command line; a text is what was wrong with it. */
export function parseOptions(args: readonly string[]): Options | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        help: { type: "boolean", short: "h", default: false },
        seed: { type: "string", default: "1" },
        keep: { type: "boolean", default: false },
        json: { type: "string" },
        "bad-model": { type: "string", default: "shuffled" },
        cmapss: { type: "string" },
        drift: { type: "string", default: "offset" },
        "drift-cohort": { type: "string", default: "B" },
      },
    });
    const { help, keep, json, cmapss } = values;
    if (json === "") return "--json needs the name of a file";
    if (cmapss === "") return "--cmapss needs a folder";
    return {
      help,
      keep,
      json,
      cmapss,
      seed: seedOf(values.seed),
      badModel: oneOf("--bad-model", BAD_MODELS, values["bad-model"]),
      drift: oneOf("--drift", DRIFTS, values.drift),
      driftCohort: oneOf("--drift-cohort", COHORTS, values["drift-cohort"]),
    };
  } catch (cause) {
    return (cause as Error).message;
  }
}

function seedOf(text: string): number {
  const seed = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(seed)) {
    throw new RangeError(`--seed is a whole number from 0 to ${Number.MAX_SAFE_INTEGER}, not "${text}"`);
  }
  return seed;
}

function oneOf<T extends string>(name: string, known: readonly T[], text: string): T {
  const found = known.find((one) => one === text);
  if (found === undefined) throw new RangeError(`${name} is one of ${known.join(", ")}, not "${text}"`);
  return found;
}

import { CHANGES } from "./plant.ts";

/** Ways to make a model worthless that no signature, check or golden vector can see. */
export const BAD_MODELS = ["shuffled", "constant", "sign-flipped", "noise"] as const;
export type BadModel = (typeof BAD_MODELS)[number];

/** What happens to one cohort's process in the second half of the story. */
export const DRIFTS = ["none", ...CHANGES] as const;
export type Drift = (typeof DRIFTS)[number];

export interface Options {
  readonly seed: number;
  readonly keep: boolean;
  readonly json: string | undefined;
  readonly badModel: BadModel;
  readonly cmapss: string | undefined;
  readonly drift: Drift;
  readonly driftCohort: "A" | "B";
}

export const USAGE = `npm run demo -- [options]
  --seed N            another plant (default 1)
  --bad-model KIND    ${BAD_MODELS.join(" | ")} (default shuffled)
  --drift KIND        what changes on one cohort: ${DRIFTS.join(" | ")} (default offset; NASA's engines: none)
  --drift-cohort C    on which cohort: A | B (default B)
  --cmapss DIR        NASA's turbofan engines instead of the simulated plant: train_FD001.txt, test_FD001.txt, RUL_FD001.txt
  --json FILE         write the report there
  --keep              leave it running; URL and token are printed`;

/** Parses the command line; a text is what was wrong with it. */
export function parseOptions(args: readonly string[]): Options | string {
  const options = {
    seed: 1,
    keep: false,
    json: undefined as string | undefined,
    badModel: "shuffled" as BadModel,
    cmapss: undefined as string | undefined,
    drift: "offset" as Drift,
    driftCohort: "B" as "A" | "B",
  };
  for (let index = 0; index < args.length; index++) {
    const [name, inline] = (args[index] as string).split(/=(.*)/s);
    if (name === "--keep") {
      options.keep = true;
      continue;
    }
    const value = inline ?? args[++index];
    if (value === undefined) return `${name} needs a value`;
    if (name === "--seed") {
      if (!/^\d{1,9}$/.test(value)) return `--seed needs a whole number, not "${value}"`;
      options.seed = Number(value);
    } else if (name === "--json") options.json = value;
    else if (name === "--cmapss") options.cmapss = value;
    else if (name === "--drift") {
      const kind = DRIFTS.find((known) => known === value);
      if (!kind) return `--drift is one of ${DRIFTS.join(", ")}, not "${value}"`;
      options.drift = kind;
    } else if (name === "--drift-cohort") {
      if (value !== "A" && value !== "B") return `--drift-cohort is A or B, not "${value}"`;
      options.driftCohort = value;
    } else if (name === "--bad-model") {
      const kind = BAD_MODELS.find((known) => known === value);
      if (!kind) return `--bad-model is one of ${BAD_MODELS.join(", ")}, not "${value}"`;
      options.badModel = kind;
    } else return `unknown option ${name}`;
  }
  return options;
}

// Chooses the default features and tree parameters: cross-validation over whole engines of NASA's train_FD001, which
// never looks at the test set. `node test/bench/cmapss-cross-validation.ts` prints the table of docs/decisions/0080.
import { unwrap } from "@bellwether/protocol/result.ts";
import { FEATURE_DEFAULTS, type FeatureOptions, planFeatures } from "../../fleet-server/src/retraining/features.ts";
import { readHistory } from "../../fleet-server/src/retraining/history/import.io.ts";
import { predictRows, prepareRows, rowsAt } from "../../fleet-server/src/retraining/prepare.ts";
import { trainGbdt } from "../../fleet-server/src/retraining/trainers/gbdt.ts";
import { GBDT_DEFAULTS, type GbdtOptions } from "../../fleet-server/src/retraining/trainers/parameters.ts";
import { seededRandom, shuffle } from "../../protocol/src/random.ts";
import { sharedData } from "../kit/shared.ts";

const FOLDS = 5;
const SEEDS = [1, 2];
const CAP = 125;
/** The shortest test engine has 31 cycles: younger rows are not what the model is asked about. */
const CYCLE_MIN = 31;

interface Candidate {
  readonly features?: FeatureOptions;
  readonly trees?: GbdtOptions;
}

const windows = [10, 15, 20, 30];
const baselines = [10, 20, 30, 40];
const CANDIDATES: readonly Candidate[] = [
  {},
  ...windows.flatMap((windowRows) =>
    baselines.map((baselineVectors) => ({ features: { windowRows, baselineVectors } })),
  ),
  { features: { relative: [] } },
  { features: { functions: ["mean"] } },
  { features: { functions: ["mean", "slope", "std"] } },
  { features: { functions: ["last", "mean", "slope"] } },
  { features: { functions: ["mean", "slope"], relative: ["mean", "slope"] } },
  { features: { age: false } },
  { trees: { trees: 600, learningRate: 0.025 } },
  { trees: { trees: 150, learningRate: 0.1 } },
  { trees: { leaves: 8, depth: 4 } },
  { trees: { leaves: 31, depth: 8 } },
  { trees: { minChildRows: 60 } },
  { trees: { l2: 20 } },
  { trees: { rowFraction: 0.4, featureFraction: 0.3 } },
  { trees: { rowFraction: 0.7, featureFraction: 0.3 } },
  { trees: { rowFraction: 0.4, featureFraction: 0.15 } },
  { trees: { rowFraction: 0.7, featureFraction: 0.5 } },
  { trees: { rowFraction: 0.7, featureFraction: 0.7 } },
  { trees: { rowFraction: 0.4, featureFraction: 0.6 } },
  { trees: { rowFraction: 1, featureFraction: 1 } },
  { trees: { loss: "huber", huberDelta: 20 } },
];

const path = sharedData("cmapss", "train_FD001.txt");
if (path === undefined) {
  console.error("NASA's files are absent: set BELLWETHER_DATA.");
  process.exit(1);
}
const digest = `sha256:${"0".repeat(64)}`;
const { snapshot } = unwrap(await readHistory({ samples: path }, { samples: { digest } }));
const engines = new Set(snapshot.assets.map(({ asset }) => asset));

/** Root mean square error over all held-out rows, of all folds and seeds. */
function crossValidate({ features = {}, trees = {} }: Candidate): number {
  const plan = unwrap(planFeatures("FD001", snapshot, features, engines));
  const prepared = unwrap(prepareRows(snapshot, plan, { kind: "rul", cap: CAP }));
  const parameters = { ...GBDT_DEFAULTS, ...trees };
  const rows = Uint32Array.from(prepared.groups.keys());
  const first = rows.map((row) => prepared.groups.indexOf(prepared.groups[row]!));
  let sum = 0;
  let count = 0;
  for (const seed of SEEDS) {
    const order = shuffle(Array.from(snapshot.assets.keys()), seededRandom(seed));
    for (let fold = 0; fold < FOLDS; fold += 1) {
      const apart = new Set(order.filter((_, place) => place % FOLDS === fold));
      const learnt = rows.filter((row) => !apart.has(prepared.groups[row]!));
      const held = rows.filter((row) => apart.has(prepared.groups[row]!) && row - first[row]! + 1 >= CYCLE_MIN);
      const { ensemble } = trainGbdt(rowsAt(prepared, learnt), parameters.loss, parameters, seed);
      const predicted = predictRows(ensemble, { kind: "identity", range: [0, CAP] }, prepared, held);
      for (const [i, row] of held.entries()) sum += (predicted[i]! - prepared.target[row]!) ** 2;
      count += held.length;
    }
  }
  return Math.sqrt(sum / count);
}

console.log(`Defaults: ${JSON.stringify(FEATURE_DEFAULTS)} ${JSON.stringify(GBDT_DEFAULTS)}\n`);
console.log("| change | RMSE | s |\n|---|---|---|");
for (const candidate of CANDIDATES) {
  const from = performance.now();
  const rmse = crossValidate(candidate);
  const seconds = ((performance.now() - from) / 1_000).toFixed(0);
  console.log(
    `| \`${JSON.stringify({ ...candidate.features, ...candidate.trees })}\` | ${rmse.toFixed(2)} | ${seconds} |`,
  );
}

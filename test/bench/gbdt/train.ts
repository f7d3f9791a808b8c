/** Seconds to grow 300 trees with the built-in trainer's defaults, one thread. */

import { trainGbdt } from "../../../fleet-server/src/retraining/trainers/gbdt.ts";
import { GBDT_DEFAULTS } from "../../../fleet-server/src/retraining/trainers/parameters.ts";
import { trainingRows } from "./data.ts";

const rows = trainingRows();
const startMs = performance.now();
trainGbdt(rows, GBDT_DEFAULTS.loss, GBDT_DEFAULTS, 1);
process.stdout.write(`${JSON.stringify({ figure: (performance.now() - startMs) / 1_000 })}\n`);

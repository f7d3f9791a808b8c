/**
 * A device's updater and pipeline, for as long as the test lets it live; says what opened, what is to serve with what
 * the disk says at that moment, and what is reported. Arguments: state directory, server, file of a director document.
 */
import { readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { startUpdates } from "../kit/updates.ts";

const [, , stateDir = "", serverUrl = "", document = ""] = process.argv;
const say = (kind: string, what: unknown) => void writeSync(1, `${kind} ${JSON.stringify(what)}\n`);
/** Digests of a slot's files, sorted: what is to run, at the moment when it is to. */
const digestsIn = (slotDir: string) =>
  readdirSync(slotDir)
    .map((name) => digestOf(readFileSync(join(slotDir, name))))
    .sort();

const device = await startUpdates({
  stateDir,
  serverUrl,
  onServe(serving) {
    const { models } = JSON.parse(readFileSync(join(stateDir, "update.json"), "utf8"));
    say("serve", { serving, kept: models[0], digests: serving && digestsIn(serving.slotDir) });
  },
  onReport: ({ models }) => say("report", models),
});
const opened = device.pipeline.outcomes.map(({ slotDir, problem }) => ({
  slotDir,
  problem,
  digests: digestsIn(slotDir),
}));
say("opened", opened);
device.updater.onDesired(readFileSync(document));

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isName, Name } from "@bellwether/protocol/ids.ts";
import { mapOf, validator } from "@bellwether/protocol/schema.ts";
import { type Static, Type } from "typebox";
import { makeFolder, writeDurably } from "./durable.io.ts";
import type { Enrolment } from "./link/enrolment.ts";

const VALUE_CHARACTERS_MAX = 128;
const LABELS_MAX = 32;
const FILE = "labels.json";

/** What the owner said of the device when enrolling it; reported among its facts, where selectors find it. */
export const DeviceLabels = mapOf(Name, Type.String({ minLength: 1, maxLength: VALUE_CHARACTERS_MAX }), {
  maxProperties: LABELS_MAX,
});
export type DeviceLabels = Static<typeof DeviceLabels>;
const labelsFile = validator(FILE, DeviceLabels);

/** Reads `key=value`; undefined where it is not that. */
export function parseLabel(text: string): readonly [string, string] | undefined {
  const at = text.indexOf("=");
  const [key, value] = [text.slice(0, at), text.slice(at + 1)];
  return at > 0 && isName(key) && value.length > 0 && value.length <= VALUE_CHARACTERS_MAX ? [key, value] : undefined;
}

/** Keeps the labels in the state directory. */
export function writeLabels(stateDir: string, labels: DeviceLabels): void {
  makeFolder(stateDir);
  writeDurably(join(stateDir, FILE), JSON.stringify(labels));
}

/**
 * Everything selectors may know of this device, from the device alone: what the enrolment token said once, what the
 * owner said at the device, what it finds in itself, and who it is; each stands above the ones before it.
 */
export function ownLabels(
  stateDir: string,
  enrolment: Pick<Enrolment, "site" | "device" | "labels">,
  facts: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const { site, device, labels } = enrolment;
  return { ...labels, ...readLabels(stateDir), ...facts, site, device };
}

/** The labels that were kept; none where there is no readable file. */
export function readLabels(stateDir: string): DeviceLabels {
  try {
    const labels = labelsFile.parse(readFileSync(join(stateDir, FILE)));
    return labels.ok ? labels.value : {};
  } catch {
    return {}; // most devices have none
  }
}

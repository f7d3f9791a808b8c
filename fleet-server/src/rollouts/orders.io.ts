import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { narrows, parseSelector } from "@bellwether/protocol/selector.ts";
import type { RolloutRecord } from "../store/rollouts.ts";
import type { Store } from "../store/store.ts";
import type { FindIncompatible } from "./compatibility.io.ts";
import { command, created, type RolloutCommand, TRANSITIONS } from "./machine.ts";
import { planOf, type RolloutPlan, type RolloutRequest } from "./plan.ts";
import type { Scheduler } from "./scheduler.io.ts";
import { assignWaves } from "./waves.ts";

/** What planning and ordering rollouts needs of the other rooms. */
export interface RolloutOrdersPorts {
  readonly store: Pick<Store, "rollouts">;
  readonly scheduler: Scheduler;
  /** A version by number or alias, with the digest of its manifest and where it stands. */
  findVersion(
    model: string,
    versionOrAlias: string,
  ): Promise<{ readonly version: number; readonly manifestDigest: string; readonly phase: string } | undefined>;
  /** The cohort a version was released for, undefined for everybody; an error where devices do not take it now. */
  reach(args: {
    readonly model: string;
    readonly version: number;
  }): Result<{ readonly cohort: string; readonly selector: string } | undefined>;
  /** Devices the selector matches now. */
  matching(selector: string, sites?: readonly string[]): Promise<Result<readonly string[]>>;
  /** Which of them cannot run the version, by what they said of themselves. */
  readonly incompatible: FindIncompatible;
  newId(): string;
  now(): number;
}

/** Plans rollouts and gives them orders, for people and for programs inside the server. */
export interface RolloutOrders {
  /** Over these sites only, where they are given. */
  create(request: RolloutRequest, by: string, sites?: readonly string[]): Promise<Result<RolloutRecord>>;
  order(id: string, ordered: RolloutCommand): Promise<Result<RolloutRecord>>;
}

export function createRolloutOrders(ports: RolloutOrdersPorts): RolloutOrders {
  const missing = (id: string) => err("NOT_FOUND", { what: "rollout", name: id });
  return {
    async create(request, by, sites) {
      const { model, version } = request;
      const found = await ports.findVersion(model, version);
      if (!found) return err("ROLLOUT_VERSION_UNKNOWN", { model, version });
      if (found.phase !== "released")
        return err("ROLLOUT_VERSION_NOT_RELEASED", { model, version, phase: found.phase });
      const plan = planOf(request, found.version, found.manifestDigest, sites);
      if (!plan.ok) return plan;
      const reached = within(ports, plan.value);
      if (!reached.ok) return reached;
      const devices = await ports.matching(plan.value.selector, sites);
      if (!devices.ok) return devices;
      if (devices.value.length === 0 && plan.value.selection === "SNAPSHOT") {
        return err("ROLLOUT_TARGET_EMPTY", { selector: plan.value.selector });
      }
      const incompatible = await ports.incompatible({
        model,
        manifestDigest: found.manifestDigest,
        devices: devices.value,
      });
      const left = new Set(incompatible.map(({ device }) => device));
      const [first] = incompatible;
      if (first && left.size === devices.value.length && plan.value.selection === "SNAPSHOT") {
        const { selector } = plan.value;
        return err("ROLLOUT_TARGET_INCOMPATIBLE", { selector, devices: left.size, ...first });
      }
      const id = ports.newId();
      const nowMs = ports.now();
      const targets = devices.value.filter((device) => !left.has(device));
      const waves = assignWaves(id, targets, plan.value.waves);
      return ports.store.rollouts.create({
        rollout: {
          id,
          plan: plan.value,
          state: created(plan.value),
          createdAtMs: nowMs,
          createdBy: by,
          updatedAtMs: nowMs,
        },
        executions: [...waves].map(([device, wave]) => ({ device, wave })),
        incompatible,
      });
    },
    async order(id, ordered) {
      const rollout = await ports.store.rollouts.get({ id });
      if (!rollout) return missing(id);
      const { phase } = rollout.state;
      const step = command(rollout.state, ordered, await ports.scheduler.observe(rollout), ports.now());
      if (!step) {
        const allowed = Object.keys(TRANSITIONS[phase]).join(", ") || "none";
        return err("ROLLOUT_COMMAND_REFUSED", { rollout: id, phase, order: ordered, allowed });
      }
      const { state, effects } = step;
      const kept = await ports.store.rollouts.save({ id, state, readAtMs: rollout.updatedAtMs, nowMs: ports.now() });
      if (!kept) return err("CONFLICT", { what: "The rollout", name: id, reason: "it moved on meanwhile" });
      await ports.scheduler.run({ ...rollout, state }, effects);
      const after = await ports.store.rollouts.get({ id });
      return after ? ok(after) : missing(id);
    },
  };
}

/**
 * What a retraining role released goes to its cohort only. The selectors are compared, not today's devices: a rollout
 * may go on for long and take in late joiners.
 */
function within(ports: RolloutOrdersPorts, { model, version, selector }: RolloutPlan): Result<void> {
  const reach = ports.reach({ model, version });
  if (!reach.ok) return reach;
  if (!reach.value) return ok(undefined);
  const [narrow, wide] = [parseSelector(selector), parseSelector(reach.value.selector)];
  if (narrow.ok && wide.ok && narrows(narrow.value, wide.value)) return ok(undefined);
  const { cohort, selector: demanded } = reach.value;
  return err("ROLLOUT_OUTSIDE_COHORT", { model, version, cohort, selector: demanded });
}

import { unwrap } from "@bellwether/protocol/result.ts";
import { deviceTopic } from "@bellwether/protocol/topics.ts";
import { sealDirector } from "@bellwether/protocol/trust/director.ts";
import type { RolloutCommand } from "../../fleet-server/src/rollouts/machine.ts";
import type { RolloutRequest } from "../../fleet-server/src/rollouts/plan.ts";
import type { RolloutRecord } from "../../fleet-server/src/store/rollouts.ts";
import { CLOCK_STEP_MS, type SimDevice } from "./device.ts";
import type { Fleet } from "./fleet.ts";
import { CONFIRM, MODEL } from "./models.ts";
import { SITE } from "./network.ts";
import { BEGIN_MS, type Chance } from "./world.ts";

const GATES = ["inference-errors", "latency", "score-shift"].map((name) => ({ name, minSamples: 14 }));
const SETTLED: readonly string[] = ["stopped", "reverted"];
/** Kinds that no wave may pass, when its devices ran another version before. */
const NEVER_PASS: readonly string[] = ["failing", "slow", "shifted", "untested"];

/** The people at the server, and whoever stole its keys: they release, roll out, give orders, and forge. */
export class Operator {
  readonly #fleet: Fleet;
  readonly #chance: Chance;
  /** Rollouts that somebody let go on past what a gate said. */
  readonly #waved = new Set<string>();
  readonly #judgedWaves = new Set<string>();
  readonly #judgedDevices = new Set<string>();
  readonly #rollouts: string[] = [];
  /** Rollouts that were judged for the last time: nothing of them moves by itself any more. */
  readonly #settled = new Set<string>();
  #forgeries = 0;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
    this.#chance = fleet.world.chance("operator");
    fleet.server.onLooked = () => this.#judge();
  }

  /** The first version goes to every device at once. */
  begin(): void {
    const waves = [{ name: "all", targetPercentage: 100, soakMinutes: 0, gates: [] }];
    this.#order(() => this.#rollOut(1, { waves }));
  }

  /** Something that people do. */
  act(): void {
    const { repository, world } = this.#fleet;
    const dice = this.#chance.next();
    const version = this.#chance.whole(1, repository.versions.length);
    const shadow = this.#chance.happens(0.25) ? { shadow: { inferences: 3, seconds: 3 } } : {};
    const command = this.#chance.one<RolloutCommand>(["pause", "resume", "retry", "revert", "stop"]);
    const rollout = this.#chance.one(this.#rollouts.length > 1 ? this.#rollouts.slice(1) : [""]);
    if (dice < 0.5) {
      repository.release(version);
      this.#order(() => this.#rollOut(version, { confirm: { ...CONFIRM, ...shadow } }));
    } else if (dice < 0.85) {
      if (rollout === "") return;
      // Retrying and resuming is a person's own judgement of what a gate said.
      if (command === "resume" || command === "retry") this.#waved.add(rollout);
      this.#order(async () => {
        const { ok } = await this.#fleet.server.orders.order(rollout, command);
        world.say("operator", `${command} ${rollout}: ${ok}`);
      });
    } else if (dice < 0.92 && version > 1) {
      repository.withdraw(version);
      world.say("operator", `withdraws version ${version}`);
    } else this.#forge(version);
  }

  #order(work: () => Promise<void>): void {
    this.#fleet.ask(work);
  }

  async #rollOut(version: number, changes: Partial<RolloutRequest>): Promise<void> {
    const { server, world } = this.#fleet;
    const request: RolloutRequest = {
      model: MODEL,
      version: String(version),
      target: { selector: "", selection: this.#chance.one(["SNAPSHOT", "CONTINUOUS"] as const) },
      waves: [
        { name: "canary", targetPercentage: 34, soakMinutes: 0.1, gates: GATES as never, errorAction: "REVERT" },
        { name: "rest", targetPercentage: 100, soakMinutes: 0.1, gates: GATES as never },
      ],
      confirm: CONFIRM,
      staleAfterMinutes: 1,
      gateTimeoutMinutes: 0.5,
      timeoutConfig: { inProgressTimeoutInMinutes: 2 },
      ...changes,
    };
    const created = await server.orders.create(request, "operator");
    if (!created.ok) return world.say("operator", `no rollout of version ${version}: ${created.error.code}`);
    const { id } = created.value;
    this.#rollouts.push(id);
    unwrap(await server.orders.order(id, "start"));
    world.say("operator", `rolls out version ${version}, ${this.#fleet.repository.version(version).kind}: ${id}`);
  }

  /**
   * Whoever has the director's key and the server tells a device to run what its owners never released: a version that
   * lies there unsigned, or something else under the number of one that is signed.
   */
  #forge(version: number): void {
    const { repository, network, world, devices } = this.#fleet;
    const real = repository.version(version);
    const isReleased = repository.everReleased.has(real.digest);
    const { digest, files } = isReleased ? repository.counterfeit(version) : real;
    const { name, newest } = this.#chance.one(devices);
    const issuedAtMs = BEGIN_MS + Math.floor(world.nowMs);
    const forged = {
      model: MODEL,
      version,
      manifestDigest: digest,
      manifestLength: files.get(digest)?.byteLength ?? 1,
      releaseCounter: version,
      confirm: { inferences: 1, soakMs: 0, deadlineMs: 1_000, errorFraction: 1 },
    };
    const document = sealDirector(
      {
        v: 1,
        device: name,
        version: (newest?.directorVersion ?? 0) + ++this.#forgeries,
        issuedAtMs,
        expiresAtMs: issuedAtMs + 600_000,
        models: [forged],
        remove: [],
      },
      repository.directorKey,
    );
    world.say("thief", `tells ${name} to run ${isReleased ? "another" : "the unreleased"} version ${version}`);
    network.toDevice(name, deviceTopic(SITE, name).down("desired"), document);
  }

  /** Promises 5 and 6, whenever the server has looked at its rollouts. */
  async #judge(): Promise<void> {
    const { server } = this.#fleet;
    if (!server.running) return;
    const { rollouts } = server.store;
    for (const id of this.#rollouts) {
      if (this.#settled.has(id)) continue;
      const rollout = await rollouts.get({ id });
      if (rollout === undefined) continue;
      if (SETTLED.includes(rollout.state.phase)) this.#settled.add(id);
      await this.#judgeSuccess(rollout);
      for (const [index, { phase }] of rollout.state.waves.entries()) {
        const key = `${id}/${index}`;
        if (phase !== "passed" || this.#judgedWaves.has(key)) continue;
        this.#judgedWaves.add(key);
        await this.#judgeWave(rollout, index);
      }
    }
  }

  /** Promise 5: who succeeded ran this very version, and long enough. */
  async #judgeSuccess({ id, plan }: RolloutRecord): Promise<void> {
    const { world, server, devices } = this.#fleet;
    for (const { device: name, phase } of await server.store.rollouts.executions({ id })) {
      const key = `${id}/${name}`;
      if (phase !== "succeeded" || this.#judgedDevices.has(key)) continue;
      this.#judgedDevices.add(key);
      const { truth } = devices.find((device) => device.name === name) as SimDevice;
      const ranMs = truth.longestMs(plan.manifestDigest, world.nowMs);
      const inferences = truth.predicted.get(plan.manifestDigest)?.length ?? 0;
      if (ranMs <= plan.confirm.soakMs - CLOCK_STEP_MS) {
        world.broken(5, `${name} succeeded with version ${plan.version} that ran ${Math.round(ranMs)} ms at a stretch`);
      }
      if (inferences < plan.confirm.inferences) {
        world.broken(5, `${name} succeeded with version ${plan.version} after ${inferences} inferences`);
      }
    }
  }

  /** Promise 6: a wave passes on what its devices did, and never with a version that is bad. */
  async #judgeWave({ id, plan, state }: RolloutRecord, index: number): Promise<void> {
    const { world, server, devices, repository } = this.#fleet;
    const wave = plan.waves[index];
    const views = (await server.store.rollouts.executions({ id })).filter((view) => view.wave === index);
    const succeeded = views.filter(({ phase }) => phase === "succeeded");
    if (wave === undefined || wave.gates.length === 0 || this.#waved.has(id)) return;
    const sinceMs = (state.waves[index]?.startedAtMs ?? 0) - BEGIN_MS;
    const inferences = succeeded.reduce((sum, { device: name }) => {
      const { truth } = devices.find((device) => device.name === name) as SimDevice;
      return sum + (truth.predicted.get(plan.manifestDigest) ?? []).filter((atMs) => atMs >= sinceMs).length;
    }, 0);
    const what = `wave ${index} of version ${plan.version} in ${id}`;
    const least = Math.min(...wave.gates.map(({ minSamples }) => minSamples));
    // What a version that served before said live may be on its way when the wave begins: gates go by when it arrived.
    if (inferences < least && (await this.#arrived(succeeded, plan.manifestDigest, sinceMs)) < least) {
      world.broken(6, `${what} passed on ${inferences} inferences`);
    }
    const { kind } = repository.version(plan.version);
    const judged =
      succeeded.length > 0 && succeeded.every(({ previous }) => previous && previous.digest !== plan.manifestDigest);
    if (judged && NEVER_PASS.includes(kind)) world.broken(6, `${what} passed, and it is ${kind}`);
    const latest = await server.store.rollouts.gates({ id, limit: 100 });
    for (const { name } of wave.gates) {
      const decision = latest.find((one) => one.wave === index && one.gate === name);
      if (decision?.verdict !== "pass") world.broken(6, `${what} passed without a verdict of ${name}`);
    }
  }

  /** Predictions of a version that arrived from some devices since a time; `checkPredictions` looks at each of them. */
  async #arrived(from: readonly { readonly device: string }[], digest: string, sinceMs: number): Promise<number> {
    const { store } = this.#fleet.server;
    let count = 0;
    for (const { device } of from) {
      const stored = await store.ingest.predictions({ order: "seq", device, digest, limit: 1_000_000 });
      count += stored.filter(({ hist, committedAtMs }) => !hist && committedAtMs - BEGIN_MS >= sinceMs).length;
    }
    return count;
  }
}

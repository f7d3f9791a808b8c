import type { DeadLetter } from "../../fleet-server/src/store/ingest.ts";
import type { Store } from "../../fleet-server/src/store/store.ts";
import type { Allowed } from "./checkers.ts";
import type { Fleet } from "./fleet.ts";
import type { Chance, World } from "./world.ts";

/** Letters of one page, as a console lists them. */
const PAGE = 5;
/** The code of a letter that its server could read, and not store. */
const FAULT_CODE = "INTERNAL";

/** Every dead letter of a device, page after page. */
async function lettersOf(store: Store, device: string): Promise<DeadLetter[]> {
  const found: DeadLetter[] = [];
  for (;;) {
    const page = await store.ingest.deadLetters({ device, afterId: found.at(-1)?.id ?? 0, limit: PAGE });
    found.push(...page);
    if (page.length < PAGE) return found;
  }
}

/** Somebody looks at a dead letter and takes it again: it is stored and gone, or stays as it was. */
async function replay(world: World, store: Store, { id, device, code }: DeadLetter, nowMs: number, allowed: Allowed) {
  const before = await store.ingest.deadLetter({ id });
  if (before === undefined) return;
  const answer = await store.ingest.replayDeadLetter({ id, nowMs });
  const after = await store.ingest.deadLetter({ id });
  const where = `dead letter ${id} of ${device}`;
  world.say(
    "operator",
    `takes ${where} again: ${answer.ok ? `${answer.value.records} records` : answer.error.message}`,
  );
  if (answer.ok) {
    if (after !== undefined) world.broken(2, `${where} was taken, and is still there`);
    const again = await store.ingest.replayDeadLetter({ id, nowMs });
    if (again.ok) world.broken(2, `${where} was taken twice`);
    return;
  }
  const same = Buffer.from(before.bytes ?? []).equals(Buffer.from(after?.bytes ?? []));
  if (after === undefined || !same) world.broken(1, `${where} was not taken, and is not there as it was`);
  if (code === FAULT_CODE && before.bytes !== null && !allowed.twice)
    world.broken(1, `${where} is not taken by a server without the fault: ${answer.error.message}`);
}

/** Somebody takes one of the dead letters again, while things still go wrong. */
export function replayOne(fleet: Fleet, chance: Chance): void {
  const { world, server, plan } = fleet;
  const { name } = chance.one(fleet.devices);
  // Nobody has a reason to before the server is mended.
  if (server.faulty) return;
  fleet.ask(async () => {
    const { store } = server;
    const letters = await lettersOf(store, name);
    if (letters.length > 0) await replay(world, store, chance.one(letters), server.nowMs(), plan);
  });
}

/** Promises 1 and 2: once every dead letter was taken again, none that could be read has left a gap. */
export async function checkLetters(world: World, store: Store, device: string, nowMs: number, allowed: Allowed) {
  for (const letter of await lettersOf(store, device)) await replay(world, store, letter, nowMs, allowed);
  const left = (await lettersOf(store, device)).filter(({ code }) => code === FAULT_CODE);
  const gaps = await store.ingest.gaps({ device, limit: 1_000_000 });
  const untold = gaps.find(({ reason }) => reason === "deadLetter");
  if (untold !== undefined && left.length === 0)
    world.broken(
      1,
      `${device} lacks ${untold.stream} ${untold.fromSeq} to ${untold.toSeq} for a dead letter that is gone`,
    );
}

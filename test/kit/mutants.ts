import type { Random } from "@bellwether/protocol/random.ts";

type Json = null | boolean | number | string | Json[] | { [member: string]: Json };

const pick = <T>(random: Random, from: readonly T[]): T => from[random.below(from.length)]!;

/** Values that parsers, comparisons and loops have stumbled over. */
const JUNK: readonly (() => Json)[] = [
  () => null,
  () => true,
  () => "",
  () => "__proto__",
  () => "../../root",
  () => "9999-12-31T23:59:59Z",
  () => "1970-01-01T00:00:00Z",
  () => -1,
  () => 0,
  () => 1.5,
  () => 1e308,
  () => Number.MAX_SAFE_INTEGER,
  () => "0".repeat(64),
  () => "x".repeat(20_000),
  () => [],
  () => ({}),
  () => ({ __proto__: 1, constructor: {}, length: 1e9 }),
  () => Array.from({ length: 2_000 }, (_, i) => i),
  () => Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`${i}.json`, { version: i }])),
  () => Array.from({ length: 1_000 }).reduce<Json>((inner) => [inner], []),
];

type Holder = Record<string | number, Json>;

const PLACES_MAX = 2_000;

/** Places in a value, the outer ones first: who holds it, and under which member. */
function placesOf(value: Json): { holder: Holder; member: string }[] {
  const places: { holder: Holder; member: string }[] = [];
  const left: Json[] = [value];
  for (let holder = left.shift(); holder !== undefined && places.length < PLACES_MAX; holder = left.shift()) {
    if (typeof holder !== "object" || holder === null) continue;
    for (const [member, inner] of Object.entries(holder)) {
      places.push({ holder: holder as Holder, member });
      left.push(inner);
    }
  }
  return places;
}

/** A copy of what would be signed, with one to three places replaced, removed, doubled or exchanged. */
export function bentBody<T extends object>(body: T, random: Random): object {
  const bent = JSON.parse(JSON.stringify(body)) as { [member: string]: Json };
  for (let left = 1 + random.below(3); left > 0; left -= 1) {
    const places = placesOf(bent);
    if (places.length === 0) break;
    const { holder, member } = pick(random, places);
    const way = random.below(5);
    if (way === 0) delete holder[member];
    else if (way === 1) holder[`${member}x`] = holder[member]!;
    else if (way === 2) {
      const other = pick(random, places);
      [holder[member], other.holder[other.member]] = [
        JSON.parse(JSON.stringify(other.holder[other.member] ?? null)) as Json,
        JSON.parse(JSON.stringify(holder[member] ?? null)) as Json,
      ];
    } else if (way === 3 && typeof holder[member] === "number") holder[member] += pick(random, [-2, -1, 1, 1_000]);
    else holder[member] = pick(random, JUNK)();
  }
  return bent;
}

/** A file's bytes with one to four things done to them that a line, a disk or a thief without a key can do. */
export function bentBytes(bytes: Buffer, random: Random): Buffer {
  let bent = Buffer.from(bytes);
  for (let left = 1 + random.below(4); left > 0; left -= 1) {
    const at = random.below(bent.length || 1);
    const to = at + random.below(bent.length - at || 1);
    const part = bent.subarray(at, to);
    const noise = Buffer.from(Array.from({ length: 1 + random.below(8) }, () => random.below(256)));
    const ways: readonly (() => Buffer)[] = [
      () => bent.subarray(0, at),
      () => Buffer.concat([bent.subarray(0, at), noise, bent.subarray(at)]),
      () => Buffer.concat([bent.subarray(0, at), bent.subarray(to)]),
      () => Buffer.concat([bent.subarray(0, to), part, part, bent.subarray(to)]),
      () => Buffer.concat([bent.subarray(0, at), Buffer.from("[".repeat(30_000)), bent.subarray(at)]),
      () => Buffer.from(bent.toString("latin1").replaceAll(/\d+/g, pick(random, ["0", "-1", "1e999", "99999999999"]))),
      () => Buffer.from(bent.map((byte, i) => (i === at ? byte ^ (1 << random.below(8)) : byte))),
    ];
    bent = Buffer.from(pick(random, ways)());
  }
  return bent;
}

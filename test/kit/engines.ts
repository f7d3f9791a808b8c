import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Random, seededRandom } from "../../protocol/src/random.ts";
import { temporaryFolder } from "./folder.ts";

/**
 * Simulated engines in the form of NASA's files: 100 to 250 cycles, a fault that grows exponentially from a random onset
 * and shows in half of the sensors under noise, offsets that differ from engine to engine.
 */
export function writeEngines(train: number, test: number, seed: number) {
  const random = seededRandom(seed, 77);
  const folder = temporaryFolder("engines-");
  const paths = { train: join(folder, "train.txt"), test: join(folder, "test.txt") };
  writeFileSync(paths.train, lines(Array.from({ length: train }, () => engine(random))));
  const cut = Array.from({ length: test }, () => {
    const whole = engine(random);
    const seen = 30 + random.below(whole.length - 35);
    return { seen: whole.slice(0, seen), rul: whole.length - seen };
  });
  writeFileSync(paths.test, lines(cut.map(({ seen }) => seen)));
  return { ...paths, rul: cut.map(({ rul }) => rul) };
}

function engine(random: Random): number[][] {
  const cycles = 100 + random.below(150);
  const offsets = Array.from({ length: 21 }, () => random.next() - 0.5);
  const onset = cycles * (0.1 + 0.2 * random.next());
  return Array.from({ length: cycles }, (_, cycle) => {
    const wear = (Math.exp((4 * Math.max(0, cycle - onset)) / (cycles - onset)) - 1) / (Math.exp(4) - 1);
    const noise = () => (random.next() + random.next() - 1) * 0.6;
    const sensors = offsets.map((offset, s) => (s % 5 === 0 ? 100 : offset + noise() + (s % 2 === 0 ? 0 : 6 * wear)));
    return [noise() * 0.002, 0, 100, ...sensors];
  });
}

function lines(engines: readonly (readonly (readonly number[])[])[]): string {
  return engines
    .flatMap((rows, unit) =>
      rows.map((row, cycle) => [unit + 1, cycle + 1, ...row.map((x) => Number(x.toFixed(4)))].join(" ")),
    )
    .join("\n");
}

import type { FleetCost } from "./bench.ts";

const LEFT = 60;
const TOP = 30;
const WIDTH = 250;
const HEIGHT = 150;
const GAP = 90;

/** Two curves over the number of devices (a logarithmic axis, both others from 0): processor time and memory of one device. */
export function fleetPlot(sizes: readonly FleetCost[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${2 * (LEFT + WIDTH) + GAP}" height="${TOP + HEIGHT + 50}" font-family="sans-serif" font-size="12">`,
    "<title>What one device costs its server, by the size of the fleet</title>",
    `<rect width="100%" height="100%" fill="#fff"/>`,
    ...curve(LEFT, "processor time of a device, ms a minute", sizes, ({ cpuMsPerMinute }) => cpuMsPerMinute),
    ...curve(LEFT + WIDTH + GAP, "memory of a device, kB", sizes, ({ memoryKb }) => memoryKb),
    "</svg>",
    "",
  ].join("\n");
}

function curve(left: number, title: string, sizes: readonly FleetCost[], of: (cost: FleetCost) => number): string[] {
  const logs = sizes.map(({ devices }) => Math.log10(devices));
  const [least, most] = [Math.min(...logs), Math.max(...logs)];
  const top = 1.25 * Math.max(...sizes.map(of));
  const points = sizes.map((cost, i) => ({
    x: left + (((logs[i] as number) - least) / (most - least || 1)) * WIDTH,
    y: TOP + HEIGHT * (1 - of(cost) / top),
    cost,
  }));
  const line = points.map(({ x, y }) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  return [
    `<text x="${left}" y="${TOP - 12}">${title}</text>`,
    `<path d="M${left} ${TOP}V${TOP + HEIGHT}H${left + WIDTH}" fill="none" stroke="#222"/>`,
    `<text x="${left - 6}" y="${TOP + HEIGHT + 4}" text-anchor="end">0</text>`,
    `<polyline points="${line}" fill="none" stroke="#2a7f62" stroke-width="2"/>`,
    ...points.flatMap(({ x, y, cost }) => [
      `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="3" fill="#2a7f62"/>`,
      `<text x="${x.toFixed(1)}" y="${(y - 8).toFixed(1)}" text-anchor="middle">${Number(of(cost).toPrecision(3))}</text>`,
      `<text x="${x.toFixed(1)}" y="${TOP + HEIGHT + 18}" text-anchor="middle">${cost.devices.toLocaleString("en")}</text>`,
    ]),
    `<text x="${left + WIDTH / 2}" y="${TOP + HEIGHT + 38}" text-anchor="middle">devices</text>`,
  ];
}

import { type Command, Option } from "commander";
import { PRESENCES } from "../devices/presence.ts";
import { at } from "./client.io.ts";
import type { CliContext } from "./context.io.ts";
import { failure } from "./failure.ts";
import { age, type Column, labels, member, time } from "./print.ts";

interface Device {
  readonly device: string;
  readonly site: string;
  readonly phase: string;
  readonly presence: string;
  readonly ageMs: number | null;
  readonly clockAheadMs: number | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly facts: Readonly<Record<string, string>>;
  readonly agentVersion: string | null;
  readonly enrolledAtMs: number;
  readonly cloned: boolean;
  readonly replacedBy: string | null;
}
interface ReportedModel {
  readonly model: string;
  readonly phase: string;
  readonly active?: { readonly version: number; readonly digest: string };
  readonly target?: { readonly version: number };
  readonly outcome?: string;
  readonly error?: { readonly code: string; readonly message: string };
}
/** What a device's line carried in the last 24 hours, or since its agent started, by class. */
interface LineCost {
  readonly coversMs: number;
  readonly bytes: Readonly<Record<string, number>>;
}
interface DeviceDetail extends Device {
  readonly assets: readonly { readonly asset: string; readonly channels: readonly unknown[] }[];
  readonly models: readonly ReportedModel[];
  readonly directorVersion: number;
  readonly quota: { readonly isPaused: boolean; readonly pauses: number };
  readonly health: { readonly line?: LineCost } | null;
  readonly refusals: readonly { readonly code: string; readonly message: string; readonly atMs: number }[];
}

const DEVICE: readonly Column<Device>[] = [
  member("device"),
  member("site"),
  { title: "phase", value: ({ phase, cloned }) => (cloned ? `${phase}, CLONED` : phase) },
  member("presence"),
  { title: "heard", value: ({ ageMs }) => (ageMs === null ? "never" : `${age(ageMs)} ago`) },
  { title: "clock", value: ({ clockAheadMs }) => clockText(clockAheadMs) },
  { title: "labels", value: (device) => labels(device.labels) },
];
const DETAIL: readonly Column<DeviceDetail>[] = [
  ...DEVICE,
  { title: "facts", value: ({ facts }) => labels(facts) },
  { title: "agent", value: ({ agentVersion }) => agentVersion ?? "" },
  { title: "enrolled", value: ({ enrolledAtMs }) => time(enrolledAtMs) },
  { title: "replaced by", value: ({ replacedBy }) => replacedBy ?? "" },
  { title: "assets", value: ({ assets }) => assets.map((one) => `${one.asset} (${one.channels.length})`).join(", ") },
  { title: "director document", value: ({ directorVersion }) => directorVersion },
  {
    title: "over its quota",
    value: ({ quota }) => (quota.pauses === 0 ? "" : `${quota.isPaused ? "now, " : ""}${quota.pauses} times`),
  },
  { title: "line", value: ({ health }) => (health?.line ? lineText(health.line) : "") },
];
const MODEL: readonly Column<ReportedModel>[] = [
  member("model"),
  member("phase"),
  { title: "runs", value: ({ active }) => (active ? `${active.version} (${active.digest.slice(7, 19)})` : "") },
  { title: "asked", value: ({ target }) => target?.version },
  { title: "outcome", value: ({ outcome }) => outcome ?? "" },
  { title: "error", value: ({ error }) => (error ? `${error.code}: ${error.message}` : "") },
];
const REFUSAL: readonly Column<DeviceDetail["refusals"][number]>[] = [
  { title: "refused at", value: ({ atMs }) => time(atMs) },
  member("code"),
  member("message"),
];

/** A clock that is off by less than a second is right: its word was on its way for a while. */
function clockText(aheadMs: number | null): string {
  if (aheadMs === null) return "";
  if (Math.abs(aheadMs) < 1_000) return "right";
  return `${age(Math.abs(aheadMs))} ${aheadMs > 0 ? "ahead" : "behind"}`;
}

/** "telemetry 1204 kB, event 3 kB in 24 h": the dearest class first. */
function lineText({ coversMs, bytes }: LineCost): string {
  const dearest = Object.entries(bytes).toSorted(([, a], [, b]) => b - a);
  const parts = dearest.map(([what, count]) => `${what} ${Math.ceil(count / 1_000)} kB`);
  return `${parts.join(", ") || "nothing"} in ${age(coversMs)}`;
}

/** `bellwether devices`: who is there, since when, and what runs on it. */
export function addDeviceCommands(program: Command, context: CliContext): void {
  const devices = program.command("devices").description("devices, their presence and labels");
  devices
    .command("list")
    .description("list devices by name, with their presence and its age")
    .option("-l, --selector <selector>", 'only these: "site=a,hw in (orin,xavier),!retired"')
    .addOption(new Option("--presence <presence>", "only these").choices([...PRESENCES]))
    .action(async (options: { selector?: string; presence?: string }) => {
      const found = (await context.client()).list<Device>("/v1/devices", { ...options, limit: 1000 });
      context.print(await Array.fromAsync(found), DEVICE);
    });
  devices
    .command("show <device>")
    .description("show one device: its assets, what runs on it, what it refused")
    .action(async (name: string) => {
      const device = await (await context.client()).get<DeviceDetail>(pathOf(name));
      context.show(device, DETAIL);
      if (context.format() !== "table") return;
      for (const [rows, print] of [
        [device.models, () => context.print(device.models, MODEL)],
        [device.refusals, () => context.print(device.refusals, REFUSAL)],
      ] as const) {
        if (rows.length === 0) continue;
        await context.write("\n");
        print();
      }
    });
  devices
    .command("label <device> <changes...>")
    .description('change labels: "line=2" sets one, "line-" takes it away')
    .action(async (name: string, changes: string[]) => {
      const client = await context.client();
      const before = await client.get<Device>(pathOf(name));
      const after = changes.reduce(changed, before.labels);
      context.show(await client.put<Device>(`${pathOf(name)}/labels`, after), DEVICE);
    });
  for (const [order, description] of [
    ["approve", "let a pending device in"],
    ["reject", "refuse a pending device for good"],
    ["reset", "say that a device lost its key: it may enrol again as the same device"],
    ["revoke", "shut a device out for good, its live session at once"],
  ] as const) {
    devices
      .command(`${order} <device>`)
      .description(description)
      .action(async (name: string) => {
        context.show(await (await context.client()).post<Device>(`${pathOf(name)}/${order}`), DEVICE);
      });
  }
  devices
    .command("replace <old> <new>")
    .description(
      "give a new device the place of a broken one: labels, assets, baselines, models; the old one is revoked",
    )
    .action(async (old: string, by: string) => {
      context.show(await (await context.client()).post<Device>(`${pathOf(old)}/replace`, { by }), DEVICE);
    });
  addCohortCommands(program, context);
}

function pathOf(device: string): string {
  return at`/v1/devices/${device}`;
}

function changed(before: Readonly<Record<string, string>>, change: string): Readonly<Record<string, string>> {
  const [, name = "", value] = /^([^=]+)=(.*)$/.exec(change) ?? [];
  if (value !== undefined) return { ...before, [name]: value };
  if (!change.endsWith("-"))
    throw failure("ARGUMENT_INVALID", { name: change, expected: 'it is neither "name=value" nor "name-"' });
  return Object.fromEntries(Object.entries(before).filter(([one]) => one !== change.slice(0, -1)));
}

interface Cohort {
  readonly cohort: string;
  readonly selector: string;
  readonly devices: number;
  readonly createdAtMs: number;
}
const COHORT: readonly Column<Cohort>[] = [
  member("cohort"),
  member("selector"),
  member("devices"),
  { title: "since", value: ({ createdAtMs }) => time(createdAtMs) },
];

function addCohortCommands(program: Command, context: CliContext): void {
  const cohorts = program.command("cohorts").description("selectors of devices, under a name");
  cohorts
    .command("list")
    .description("list cohorts, with how many devices each selects now")
    .action(async () => {
      const { items } = await (await context.client()).get<{ items: Cohort[] }>("/v1/cohorts");
      context.print(items, COHORT);
    });
  cohorts
    .command("set <cohort> <selector>")
    .description('name a selector: cohorts set canaries "site=a,line in (1,2)"')
    .action(async (cohort: string, selector: string) => {
      const path = at`/v1/cohorts/${cohort}`;
      context.show(await (await context.client()).put<Cohort>(path, { selector }), COHORT);
    });
  cohorts
    .command("delete <cohort>")
    .description("forget the name; the devices stay as they are")
    .action(async (cohort: string) => {
      await (await context.client()).delete(at`/v1/cohorts/${cohort}`);
    });
}

import type { Problem } from "@bellwether/protocol/errors.ts";
import type { ReportedMessage, ReportedModel } from "@bellwether/protocol/messages/device.ts";
import type { DiskFigures, PipelineFigures } from "./inference/pipeline.ts";
import type { LinkFigures } from "./link/ports.ts";

/** What a running agent says of itself to `bellwether-agent status`. Every part carries the time it is from. */
export interface AgentSnapshot {
  readonly v: 1;
  readonly atMs: number;
  readonly pid: number;
  readonly agentVersion: string;
  readonly site: string;
  readonly device: string;
  readonly phase: "running" | "stopping";
  readonly startedAtMs: number;
  readonly link: LinkFigures & { readonly sinceMs: number; readonly problem?: Pick<Problem, "code" | "message"> };
  readonly models: readonly ReportedModel[];
  /** What updates refused since the agent started, newest last. */
  readonly refusals: ReportedMessage["refusals"];
  /** Undefined in the first second. */
  readonly pipeline?: PipelineFigures;
}

/** The snapshot for people: one line per part, with ages. */
export function describeSnapshot(snapshot: AgentSnapshot, nowMs: number): string {
  const { link, pipeline } = snapshot;
  const lines = [
    `agent     ${snapshot.site}/${snapshot.device}, version ${snapshot.agentVersion}, pid ${snapshot.pid}, ${snapshot.phase} for ${age(snapshot.startedAtMs, nowMs)}`,
    `link      ${link.phase} for ${age(link.sinceMs, nowMs)}${link.problem ? `: ${link.problem.message}` : ""}`,
  ];
  lines.push(`line      ${describeLine(link.line)}`);
  if (pipeline === undefined) return [...lines, "pipeline  no figures yet", ""].join("\n");
  const { outbox } = pipeline;
  const problem = outbox.problem ? `, ${outbox.problem.message}` : "";
  lines.push(
    `outbox    ${outbox.phase}, ${outbox.unacked} records to send, ${megabytes(outbox.bytes)} of ${megabytes(outbox.bytesMax)} MB, ${outbox.evictedRecords} evicted${problem}`,
  );
  if (pipeline.disk) lines.push(`disk      ${describeDisk(pipeline.disk)}`);
  for (const { id, rows, lastAtMs, problem } of pipeline.inputs) {
    const wrong = problem ? `; ${ago(problem.atMs, nowMs)}: ${problem.message} (${problem.code})` : "";
    lines.push(`input     ${id}: ${rows} rows, last ${ago(lastAtMs, nowMs)}${wrong}`);
  }
  for (const { model, version, assets, inferences, errors, p99LatencyUs, lastAtMs } of pipeline.models) {
    lines.push(
      `model     ${model} ${version}: ${inferences} inferences on ${assets.length} assets, ${errors} errors, p99 ${(p99LatencyUs / 1_000).toFixed(2)} ms, last ${ago(lastAtMs, nowMs)}`,
    );
  }
  for (const { model, phase, target, outcome, error } of snapshot.models) {
    const wanted = target ? ` to version ${target.version}` : "";
    const ended = outcome ? `, the last one ${outcome}` : "";
    lines.push(
      `update    ${model}: ${phase}${phase === "idle" ? "" : wanted}${ended}${error ? `: ${error.message}` : ""}`,
    );
  }
  if (pipeline.models.length === 0) lines.push("model     none is running");
  return `${lines.join("\n")}\n`;
}

function describeLine({ coversMs, bytes }: LinkFigures["line"]): string {
  const parts = Object.entries(bytes).map(([what, count]) => `${what} ${megabytes(count)} MB`);
  return `${parts.join(", ") || "nothing"} in ${Math.max(1, Math.round(coversMs / 3_600_000))} h`;
}

function describeDisk({ coversMs, writtenBytes, budgetBytesPerDay, commitMs }: DiskFigures): string {
  const hours = Math.max(1, Math.round(coversMs / 3_600_000));
  return `${megabytes(writtenBytes)} MB written in ${hours} h of ${megabytes(budgetBytesPerDay)} a day, a commit every ${commitMs / 1_000} s`;
}

function ago(atMs: number | undefined, nowMs: number): string {
  return atMs === undefined ? "never" : `${age(atMs, nowMs)} ago`;
}

function age(atMs: number, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - atMs) / 1_000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

function megabytes(bytes: number): string {
  return (bytes / 1_048_576).toFixed(1);
}

import { randomBytes } from "node:crypto";
import { startFile } from "../child.io.ts";
import type { LoadOrder } from "./load.ts";
import { SHAPES, type Size } from "./packets.ts";

export const CLIENTS = 100;
const MEASURED_MS = 4_000;

const ANONYMOUS: LoadOrder["clients"] = Array.from({ length: CLIENTS }, (_, i) => ({
  clientId: `gw-${i + 1}`,
  site: "bench",
}));

/** A load that can be run round after round; each gives the messages a second that were acknowledged. */
export interface Load {
  round(): Promise<number>;
  stop(): Promise<void>;
}

/** Connects the clients to a broker. */
export function connectLoad(order: Pick<LoadOrder, "port" | "clients" | "acknowledgedBy" | "shape">): Load {
  const child = startFile("ingest/load.ts");
  child.say({ ...order, epoch: randomBytes(8).toString("hex"), measuredMs: MEASURED_MS } satisfies LoadOrder);
  return {
    async round() {
      child.say({ round: true });
      return (await child.next<{ figure: number }>("figure")).figure;
    },
    stop: () => child.stop(),
  };
}

/** One round against a broker that asks for no login and confirms by PUBACK. */
export async function loadOnce(port: number, size: Size): Promise<number> {
  const load = connectLoad({ port, clients: ANONYMOUS, acknowledgedBy: "puback", shape: SHAPES[size] });
  try {
    return await load.round();
  } finally {
    await load.stop();
  }
}

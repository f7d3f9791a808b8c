import { deviceSays, type UpKind } from "@bellwether/protocol/topics.ts";
import type { Connection, ConnectionOptions } from "../../agent/src/link/connection.io.ts";
import type { DeviceSender } from "../../fleet-server/src/broker/broker.io.ts";
import type { End } from "./disk.ts";
import type { Chance, Life, World } from "./world.ts";

/**
 * up: what is sent arrives; cut: every connection breaks, and both ends are told; silent: nothing arrives and nobody is
 * told, as behind a router that lost its table.
 */
export type LineMode = "up" | "cut" | "silent";

/** The line between one device and the server. */
export class Line {
  mode: LineMode = "up";
  /** Probabilities by message. */
  dropUp = 0;
  dropDown = 0;
  twice = 0;
  /** A batch arrives later than those after it, as over a shared subscription. */
  late = 0;
  /** What stands between hands on the beginning of a message only. */
  cutShort = 0;
  latencyMs = 20;
}

/** Where the server's end of a line is; undefined while no server runs. */
export interface ServerEnd {
  readonly life: Life;
  onMessage(sender: DeviceSender, kind: UpKind, payload: Uint8Array): void;
  onDeviceListening(device: string): void;
}

interface Held {
  readonly run: () => void;
}

/** One MQTT connection, both ends of it. */
class SimConnection {
  open = true;
  listening = false;
  readonly device: string;
  readonly owner: Life;
  readonly server: ServerEnd;
  readonly options: ConnectionOptions;
  /** What a silent line swallowed: TCP sends it again when the line speaks again. */
  held: Held[] = [];
  upAtMs = 0;
  downAtMs = 0;

  constructor(device: string, owner: Life, server: ServerEnd, options: ConnectionOptions) {
    this.device = device;
    this.owner = owner;
    this.server = server;
    this.options = options;
  }
}

export const SITE = "plant-a";
/** MQTT-3.1.2-24: a client that is silent for one and a half times its keep-alive is gone. */
const KEEP_ALIVE_MS = 45_000;
const TAKEN_BYTES_MAX = 524_288;

/**
 * The lines of all devices and a broker with the semantics of the real one: PUBACK before anything is taken, wills when
 * a connection breaks, one connection per client id, nothing kept between connections.
 */
export class Network {
  readonly #world: World;
  readonly #chance: Chance;
  readonly #lines = new Map<string, Line>();
  readonly #connections = new Map<string, SimConnection>();
  readonly #takenBytes = new Map<string, number>();
  server: ServerEnd | undefined;
  /** When anything of a device was last handed to the server, its wills left out. */
  readonly heardAtMs = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
    this.#chance = world.chance("network");
  }

  line(device: string): Line {
    const line = this.#lines.get(device) ?? new Line();
    this.#lines.set(device, line);
    return line;
  }

  /** Whether a request of a device over HTTP would be answered now. */
  answers(device: string): boolean {
    return this.line(device).mode === "up" && this.server?.life.alive === true;
  }

  setMode(device: string, mode: LineMode): void {
    const line = this.line(device);
    if (line.mode === mode) return;
    line.mode = mode;
    this.#world.say(device, `line ${mode}`);
    const connection = this.#connections.get(device);
    if (connection === undefined) return;
    if (mode === "cut") this.#break(connection, "ECONNRESET");
    if (mode !== "up") return;
    const held = connection.held;
    connection.held = [];
    for (const { run } of held) run();
  }

  /** Opens a connection for a process of a device. */
  async connect(device: string, owner: Life, options: ConnectionOptions): Promise<Connection> {
    const line = this.line(device);
    const silent = line.mode === "silent";
    await owner.answered(silent ? (options.connectTimeoutMs ?? 10_000) : 2 * line.latencyMs, () => undefined);
    const { server } = this;
    if (line.mode !== "up" || server?.life.alive !== true) throw new Error("ECONNREFUSED");
    const before = this.#connections.get(device);
    if (before !== undefined) this.#close(before, true);
    const connection = new SimConnection(device, owner, server, options);
    this.#connections.set(device, connection);
    this.#world.say(device, "connected");
    return this.#endOf(connection);
  }

  #endOf(connection: SimConnection): Connection {
    const { owner, device } = connection;
    return {
      subscribe: () =>
        new Promise((resolve) => {
          this.#up(connection, () => {
            connection.listening = true;
            connection.server.onDeviceListening(device);
            this.#down(connection, resolve);
          });
        }),
      publish: (topic, payload) =>
        new Promise((resolve, reject) => {
          if (!connection.open || !owner.alive) return reject(new Error("client disconnecting"));
          this.#up(connection, () => {
            this.#down(connection, resolve);
            this.#taken(connection, topic, payload);
          });
        }),
      end: async (politely) => {
        if (!connection.open) return;
        if (politely) this.#up(connection, () => this.#close(connection, false));
        else this.#break(connection, undefined);
      },
    };
  }

  /** From the device to the server, in order. */
  #up(connection: SimConnection, arrives: () => void): void {
    connection.upAtMs = Math.max(connection.upAtMs, this.#world.nowMs + this.#transitMs(connection));
    this.#carry(connection, connection.upAtMs, connection.server.life, arrives);
  }

  #down(connection: SimConnection, arrives: () => void): void {
    connection.downAtMs = Math.max(connection.downAtMs, this.#world.nowMs + this.#transitMs(connection));
    this.#carry(connection, connection.downAtMs, connection.owner, arrives);
  }

  #transitMs({ device }: SimConnection): number {
    const { latencyMs } = this.line(device);
    return this.#chance.between(latencyMs / 2, latencyMs * 1.5);
  }

  #carry(connection: SimConnection, atMs: number, reader: Life, arrives: () => void): void {
    const run = () => {
      if (!connection.open || !reader.alive) return;
      if (this.line(connection.device).mode === "silent") connection.held.push({ run });
      else arrives();
    };
    this.#world.at(atMs - this.#world.nowMs, run);
  }

  /** The broker has confirmed a message already: what happens to it now is nobody's but the application's. */
  #taken(connection: SimConnection, topic: string, payload: Uint8Array): void {
    const { device, server } = connection;
    const kind = deviceSays(SITE, device, topic);
    if (kind === undefined || kind === "command") throw new Error(`${device} may not publish to ${topic}`);
    const line = this.line(device);
    if (this.#chance.happens(line.dropUp)) {
      this.#world.say(device, `dropped ${kind} ${payload.length}`);
      return;
    }
    const bytes = new Uint8Array(line.cutShort > 0 ? this.#shortened(line, payload) : payload);
    const batch = kind !== "state" && kind !== "birth" && kind !== "reported";
    const late = batch && this.#chance.happens(line.late) ? this.#chance.between(50, 4_000) : 0;
    const give = () => {
      if (server.life.alive) this.#offer(connection, kind, bytes);
    };
    if (late > 0) this.#world.at(late, give);
    else give();
    if (batch && this.#chance.happens(line.twice)) this.#world.at(this.#chance.between(0, 2_000), give);
  }

  #shortened({ cutShort }: Line, payload: Uint8Array): Uint8Array {
    return this.#chance.happens(cutShort) ? payload.subarray(0, Math.floor(payload.length * 0.9)) : payload;
  }

  #offer({ device, server }: SimConnection, kind: UpKind, bytes: Uint8Array): void {
    this.heardAtMs.set(device, this.#world.nowMs);
    const waiting = (this.#takenBytes.get(device) ?? 0) + bytes.length;
    this.#takenBytes.set(device, waiting);
    if (waiting > 4 * TAKEN_BYTES_MAX) this.#world.broken(7, `${waiting} bytes of ${device} wait for the store`);
    let open = true;
    const done = () => {
      if (open) this.#takenBytes.set(device, (this.#takenBytes.get(device) ?? 0) - bytes.length);
      open = false;
    };
    server.onMessage({ device, site: SITE, done }, kind, bytes);
  }

  /** The server sends to a device that listens. */
  toDevice(device: string, topic: string, payload: Uint8Array): boolean {
    const connection = this.#connections.get(device);
    if (connection === undefined || !connection.open || !connection.listening) return false;
    const drop = this.#chance.happens(this.line(device).dropDown);
    if (drop) this.#world.say(device, `lost on the way down: ${topic.split("/").at(-1)}`);
    else this.#down(connection, () => connection.options.onMessage(topic, payload, false));
    return true;
  }

  /** The connection is over for both ends; each learns of it in its own time, the device only where it is given a reason. */
  #break(connection: SimConnection, reason: string | undefined, powerCut = false): void {
    const { owner, options } = connection;
    // The broker keeps a connection of which it hears nothing until its keep-alive is over.
    const unnoticed = powerCut || this.line(connection.device).mode === "silent";
    connection.open = false;
    if (reason !== undefined) owner.after(this.#chance.between(0, 500), () => options.onClosed(reason));
    const { server } = connection;
    server.life.after(unnoticed ? KEEP_ALIVE_MS : this.#chance.between(0, 1_000), () => this.#forget(connection, true));
  }

  #close(connection: SimConnection, withWill: boolean): void {
    if (connection.open) {
      connection.owner.after(this.#chance.between(0, 500), () => connection.options.onClosed("taken over"));
      connection.open = false;
    }
    this.#forget(connection, withWill);
  }

  #forget(connection: SimConnection, withWill: boolean): void {
    const { device, server, options } = connection;
    if (this.#connections.get(device) === connection) this.#connections.delete(device);
    const { will } = options;
    if (!withWill || will === undefined || !server.life.alive) return;
    this.#world.say(device, "its will is told");
    server.onMessage({ device, site: SITE, done: () => undefined }, "state", will.payload);
  }

  /** A device's process ended: its kernel closes the connection, unless the power went. */
  deviceLeft(device: string, end: End): void {
    const connection = this.#connections.get(device);
    if (connection?.open) this.#break(connection, undefined, end === "powerCut");
  }

  /** The server's process ended. */
  serverLeft(): void {
    this.server = undefined;
    for (const connection of this.#connections.values()) {
      if (!connection.open) continue;
      connection.open = false;
      if (this.line(connection.device).mode === "silent") continue;
      connection.owner.after(this.#chance.between(0, 1_000), () => connection.options.onClosed("ECONNRESET"));
    }
    this.#connections.clear();
    this.#takenBytes.clear();
  }
}

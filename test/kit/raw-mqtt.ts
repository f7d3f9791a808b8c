import { createConnection, type Socket } from "node:net";
import { patient } from "./eventually.ts";
import { PacketCutter } from "./mqtt-packets.ts";

const PUBACK = 4;
const PINGRESP = 13;
const PINGREQ = Buffer.from([0xc0, 0]);

/** A connection that says any bytes to a broker, and counts the packets that come back. */
export class RawMqtt {
  readonly #socket: Socket;
  readonly #heard = new Map<number, number>();
  readonly #cutter = new PacketCutter();
  #waiting: (() => void)[] = [];

  /** Resolves when TCP is connected; errors are what the broker does to it, and are not ours. */
  static async open(port: number): Promise<RawMqtt> {
    const socket = createConnection(port, "127.0.0.1");
    const raw = new RawMqtt(socket);
    await raw.#until("a connection", () => !socket.connecting);
    return raw;
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    const wake = () => {
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const go of waiting) go();
    };
    socket.setNoDelay(true);
    socket.on("error", () => undefined);
    socket.on("connect", wake);
    socket.on("close", wake);
    socket.on("data", (bytes) => {
      this.#read(bytes);
      wake();
    });
  }

  get closed(): boolean {
    return this.#socket.closed;
  }

  /** Packets of this type so far. */
  heard(type: number): number {
    return this.#heard.get(type) ?? 0;
  }

  write(bytes: Uint8Array): void {
    if (!this.#socket.destroyed) this.#socket.write(bytes);
  }

  /** Says a packet and asks for an answer to another after it: false where the connection was closed instead. */
  async answered(packet: Uint8Array): Promise<boolean> {
    const before = this.heard(PINGRESP);
    this.write(packet);
    this.write(PINGREQ);
    await this.#until("an answer", () => this.closed || this.heard(PINGRESP) > before);
    return !this.closed;
  }

  /** Says something, and that nothing more comes; resolves when the broker has closed its side, too. */
  async lastWords(bytes: Uint8Array): Promise<void> {
    this.write(bytes);
    this.#socket.end();
    await this.#until("the end of the connection", () => this.closed);
  }

  /** Resolves when so many publishes were confirmed in all. */
  async confirmed(publishes: number): Promise<void> {
    await this.#until("a PUBACK", () => this.closed || this.heard(PUBACK) >= publishes);
    if (this.closed) throw new Error(`closed after ${this.heard(PUBACK)} of ${publishes} PUBACKs`);
  }

  /** Resolves when a packet of this type has come; rejects where the connection was closed instead. */
  async hear(type: number): Promise<void> {
    await this.#until(`a packet of type ${type}`, () => this.closed || this.heard(type) > 0);
    if (this.heard(type) === 0) throw new Error(`closed without a packet of type ${type}`);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  async #until(what: string, condition: () => boolean, limitMs = 15_000): Promise<void> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#socket.destroy();
    }, patient(limitMs));
    while (!condition() && !this.#socket.closed) await new Promise<void>((go) => this.#waiting.push(go));
    clearTimeout(timer);
    if (late) throw new Error(`not within ${patient(limitMs)} ms: ${what}`);
  }

  #read(bytes: Buffer): void {
    for (const packet of this.#cutter.push(bytes)) {
      const type = (packet[0] as number) >> 4;
      this.#heard.set(type, this.heard(type) + 1);
    }
  }
}

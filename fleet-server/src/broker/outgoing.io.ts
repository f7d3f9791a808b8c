import type { Client } from "aedes";

/** Bytes on their way to each client, bounded: neither a frozen nor a slow reader may hold memory or anyone else. */
export class Outgoing {
  readonly #bytesMax: number;
  readonly #bytes = new WeakMap<Client, number>();
  readonly #waiting = new Map<Client, (() => void)[]>();
  skipped = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Sends at QoS 0; false, and counted, where too much is on its way already. */
  send(client: Client, topic: string, payload: Uint8Array, retain: boolean): boolean {
    const before = this.#bytes.get(client) ?? 0;
    const size = topic.length + payload.byteLength;
    if (before > 0 && before + size > this.#bytesMax) {
      this.skipped++;
      return false;
    }
    this.#bytes.set(client, before + size);
    // Called when the socket has taken it: a full one takes nothing until it is empty again.
    client.publish({ cmd: "publish", topic, payload: Buffer.from(payload), qos: 0, retain, dup: false }, () => {
      this.#bytes.set(client, (this.#bytes.get(client) ?? 0) - size);
      this.#wake(client);
    });
    return true;
  }

  /** Resolves when half of the bound is free: true, or false when the client has gone. */
  async room(client: Client): Promise<boolean> {
    while (!client.closed && (this.#bytes.get(client) ?? 0) > this.#bytesMax / 2) {
      await new Promise<void>((woken) => {
        this.#waiting.set(client, [...(this.#waiting.get(client) ?? []), woken]);
      });
    }
    return !client.closed;
  }

  forget(client: Client): void {
    const waiting = this.#waiting.get(client) ?? [];
    this.#waiting.delete(client);
    for (const woken of waiting) woken();
  }

  #wake(client: Client): void {
    if ((this.#bytes.get(client) ?? 0) <= this.#bytesMax / 2) this.forget(client);
  }
}

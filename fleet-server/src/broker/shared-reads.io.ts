import type { Socket } from "node:net";

/** Takes what was read, a view into memory that is written over next; false where it has to come through the stream. */
export type ReadTaker = (bytes: Buffer) => boolean;

/** The parts of a socket behind Node's own `onread`, for which a socket that was accepted has no public way. */
interface SocketInside {
  [symbol: symbol]: unknown;
  readonly _handle?: { useUserBuffer?(buffer: Uint8Array): void } | null;
}

/** What libuv asks for at each read. */
const READ_BYTES = 65_536;
const memory = Buffer.allocUnsafeSlow(READ_BYTES);
const takers = new WeakMap<object, ReadTaker>();

/** Called by Node with the socket as `this`; false stops the reading until the stream is read. */
function onRead(this: Socket, length: number): boolean {
  const bytes = memory.subarray(0, length);
  // What waits in the stream came before.
  if (this.readableLength === 0 && takers.get(this)?.(bytes)) return true;
  return this.push(Buffer.from(bytes));
}

/**
 * Has a connection read into one memory with all others, where Node would make 64 kB for each read and leave them to its
 * collector: with many connections most of the process' memory, and with many messages a good part of its time. What
 * nobody takes from there goes through the stream as ever. False, and nothing changed, where this Node cannot.
 */
export function shareReads(socket: Socket): boolean {
  // Elsewhere a read ends before the next begins. Windows reads while it waits: each connection needs memory of its own.
  if (process.platform === "win32") return false;
  const inside = socket as object as SocketInside;
  const symbols = Object.getOwnPropertySymbols(socket);
  const buffer = symbols.find(({ description }) => description === "kBuffer");
  const callback = symbols.find(({ description }) => description === "kBufferCb");
  const handle = inside._handle;
  if (buffer === undefined || callback === undefined || typeof handle?.useUserBuffer !== "function") return false;
  inside[buffer] = memory;
  inside[callback] = onRead;
  handle.useUserBuffer(memory);
  return true;
}

/** Offers what a connection with shared reads brings to somebody before its stream. */
export function takeReads(connection: object, taker: ReadTaker): void {
  takers.set(connection, taker);
}

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

/** Why a file cannot be used, as the end of a sentence. */
export interface Unusable {
  readonly reason: string;
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EISDIR: "it is a folder",
  ENOTDIR: "a part of its path is no folder",
  EACCES: "reading it is not permitted",
  ELOOP: "its links lead in a ring",
};

/** What the system says of a file, in words where they are known. */
export function reasonOf(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException;
  return REASONS[code ?? ""] ?? code ?? message;
}

/** Opens a file for reading, if it is one: opening a pipe would wait for its writer, for ever. */
function openFile(file: string): number {
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  const facts = fstatSync(descriptor);
  if (facts.isFile()) return descriptor;
  closeSync(descriptor);
  throw new Error(facts.isDirectory() ? REASONS["EISDIR"] : "it is a pipe or a device");
}

/** Why the file cannot be read; undefined when it can. */
export function unreadable(file: string): string | undefined {
  try {
    closeSync(openFile(file));
    return undefined;
  } catch (cause) {
    return reasonOf(cause);
  }
}

/** The first bytes of a file, at most so many. */
export function readStart(file: string, bytesMax: number): Buffer | Unusable {
  try {
    const descriptor = openFile(file);
    try {
      const bytes = Buffer.alloc(Math.min(bytesMax, fstatSync(descriptor).size));
      let length = 0;
      for (let read = -1; read !== 0 && length < bytes.length; length += read) {
        read = readSync(descriptor, bytes, length, bytes.length - length, length);
      }
      return bytes.subarray(0, length);
    } finally {
      closeSync(descriptor);
    }
  } catch (cause) {
    return { reason: reasonOf(cause) };
  }
}

/** The text of a file: in UTF-8, and of at most so many bytes. */
export function readText(file: string, bytesMax: number): string | Unusable {
  const bytes = readStart(file, bytesMax + 1);
  if (!Buffer.isBuffer(bytes)) return bytes;
  if (bytes.length > bytesMax) return { reason: `it has more than ${bytesMax} bytes` };
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { reason: "it is not text in UTF-8" };
  }
}

/** MQTT-3.1.3.5: a password's length is said in two bytes. */
const PASSWORD_BYTES_MAX = 65_535;

/** The password of a broker that a file holds, without the line's end. */
export function readPassword(file: string): string | Unusable {
  const text = readText(file, PASSWORD_BYTES_MAX);
  return typeof text === "string" ? text.trimEnd() : text;
}

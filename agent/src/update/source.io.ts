import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath, pathToFileURL } from "node:url";
import { bundleFile, documentPath } from "@bellwether/protocol/bundle.ts";
import { err, ok, type Result } from "@bellwether/protocol/result.ts";
import { type Asking, fetchOver } from "@bellwether/protocol/tls/fetch.io.ts";
import { DIRECT, type Transport } from "@bellwether/protocol/tls/transport.ts";

/** Where updates come from: the server, or a bundle that somebody brought. What is checked is the same. */
export interface UpdateSource {
  /** Below it lie the paths of the API; `file:` is a bundle. */
  readonly serverUrl: string;
  readonly maxBytesPerSecond?: number | undefined;
  token(renew?: boolean): Promise<Result<string>>;
  transport(): Transport;
}

/** A bundle's folder as a source; it takes nothing of the line, and wants no token. */
export function bundleSource(folder: string): UpdateSource {
  const serverUrl = `${pathToFileURL(folder).href}/`;
  return { serverUrl, maxBytesPerSecond: undefined, token: async () => ok(""), transport: () => DIRECT };
}

const FOLDER = "file:";

/** `fetch` from a source: a bundle's files are answered as a server would answer them. */
export async function fetchFrom(transport: Transport, url: string, asking: Asking = {}): Promise<Response> {
  return url.startsWith(FOLDER) ? answerOfFile(url, asking) : fetchOver(transport, url, asking);
}

async function answerOfFile(url: string, asking: Asking): Promise<Response> {
  // A stick may hold anything: a link leads elsewhere, and a pipe would never let go of whoever opens it.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const path = fileURLToPath(url);
  const file = await open(join(dirname(path), bundleFile(basename(path))), flags).catch(
    (cause: NodeJS.ErrnoException) => {
      if (cause.code === "EIO" || cause.code === "EACCES") throw cause;
      return undefined;
    },
  );
  if (file === undefined) return new Response(null, { status: 404 });
  const stats = await file.stat();
  const headers = new Headers(asking.headers as Record<string, string>);
  const [, from = "0"] = /^bytes=(\d+)-$/.exec(headers.get("range") ?? "") ?? [];
  const start = Number(from);
  if (!stats.isFile() || start > stats.size) {
    await file.close();
    return new Response(null, { status: stats.isFile() ? 416 : 404 });
  }
  const stream = file.createReadStream({ start, ...(asking.signal ? { signal: asking.signal } : {}) });
  return new Response(Readable.toWeb(stream) as ReadableStream<Uint8Array>, { status: start > 0 ? 206 : 200 });
}

/** An answer's whole body; undefined where it is longer than that. */
export async function bodyOf(answer: Response, bytesMax: number): Promise<Buffer | undefined> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of answer.body ?? []) {
    length += part.byteLength;
    if (length > bytesMax) return undefined;
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** The director document that a bundle holds for a device, of at most so many bytes. */
export async function bundledDocument(folder: string, device: string, bytesMax: number): Promise<Result<Buffer>> {
  const unreadable = (reason: string) => err("BUNDLE_UNREADABLE", { folder, device, reason });
  try {
    const answer = await fetchFrom(DIRECT, pathToFileURL(join(folder, documentPath(device))).href);
    if (!answer.ok) return unreadable("it holds no document for this device");
    const bytes = await bodyOf(answer, bytesMax);
    return bytes ? ok(bytes) : unreadable(`its document is longer than ${bytesMax} bytes`);
  } catch (cause) {
    return unreadable((cause as NodeJS.ErrnoException).code ?? String(cause));
  }
}

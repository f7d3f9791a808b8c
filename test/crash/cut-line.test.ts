import { statSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { digestOf } from "@bellwether/protocol/package/check.ts";
import { expect, onTestFinished, test } from "vitest";
import { openSlots } from "../../agent/src/update/slots.io.ts";
import { eventually } from "../kit/eventually.ts";
import { temporaryFolder } from "../kit/folder.ts";
import { largeModel, testPackage } from "../kit/packages.ts";
import { directorBytes, releaseOf } from "../kit/tuf.ts";
import { startUpdates } from "../kit/updates.ts";
import { confirmed, PATIENT, startRepository } from "../kit/victims.ts";

const CUT_EVERY_MS = 2_000;
const CHUNK = 16_384;
const MEGABYTES = 20;

/** A line to a server: so many bytes a second, and every connection over it breaks every two seconds. */
async function cutLine(target: string, bytesPerSecond: number) {
  const { hostname, port } = new URL(target);
  const counts = { cuts: 0, bytes: 0 };
  const open = new Set<Socket>();
  const server = createServer(async (device) => {
    const upstream = connect(Number(port), hostname);
    for (const socket of [device, upstream]) {
      open.add(socket);
      socket.on("error", () => undefined);
      socket.once("close", () => {
        open.delete(socket);
        device.destroy();
        upstream.destroy();
      });
    }
    device.pipe(upstream);
    try {
      for await (const data of upstream as AsyncIterable<Buffer>) {
        for (let at = 0; at < data.length && !device.destroyed; at += CHUNK) {
          const part = data.subarray(at, at + CHUNK);
          counts.bytes += part.length;
          await new Promise<void>((written) => void device.write(part, () => written()));
          await wait((part.length / bytesPerSecond) * 1_000);
        }
      }
    } catch {
      // Cut: what the server had ready never went over the line.
    }
  });
  await new Promise<void>((listening) => void server.listen(0, "127.0.0.1", listening));
  const scissors = setInterval(() => {
    if (open.size > 0) counts.cuts += 1;
    for (const socket of open) socket.destroy();
  }, CUT_EVERY_MS);
  onTestFinished(() => {
    clearInterval(scissors);
    for (const socket of open) socket.destroy();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as { port: number }).port}`, counts };
}

test(`a model of ${MEGABYTES} MB arrives over a line that is cut every 2 s, and hardly a byte of it twice`, async () => {
  const release = releaseOf(testPackage(largeModel(10, MEGABYTES), [10, 20, 30], PATIENT), 1);
  const length = release.blobs.reduce((sum, blob) => sum + blob.byteLength, 0);
  const repository = await startRepository();
  repository.publish(1, [release]);
  const line = await cutLine(repository.url, 2_500_000);
  const device = await startUpdates({ stateDir: temporaryFolder(), serverUrl: line.url });
  onTestFinished(() => device.close());
  device.updater.onDesired(directorBytes(1, [release]));
  await confirmed(device, release, 300_000);
  const { cuts, bytes } = line.counts;
  console.log(`${cuts} cuts; ${bytes} bytes for ${length}: ${((bytes / length - 1) * 100).toFixed(2)} % too many`);
  expect(length).toBeGreaterThan(MEGABYTES * 1_000_000);
  expect(cuts).toBeGreaterThanOrEqual(3);
  // Everything that went over the line counts: metadata and headers, too.
  expect(bytes).toBeLessThanOrEqual(length * 1.01);
}, 400_000);

test("a device that ends in the middle of a download asks for the rest alone when it starts again", async () => {
  const release = releaseOf(testPackage(largeModel(10, 2), [10, 20, 30], PATIENT), 1);
  const model = release.blobs.reduce((a, b) => (a.byteLength > b.byteLength ? a : b));
  const path = `blobs/${digestOf(model)}`;
  const half = model.byteLength >> 1;
  const repository = await startRepository();
  repository.publish(1, [release]);
  repository.answers.set(path, (_, response) => {
    response.writeHead(200);
    response.write(model.subarray(0, half));
  });
  const stateDir = temporaryFolder();
  const first = await startUpdates({ stateDir, serverUrl: repository.url });
  first.updater.onDesired(directorBytes(1, [release]));
  const partial = join(openSlots(stateDir).partialOf(release.model, release.manifestDigest), "model.onnx");
  await eventually("half of it is there", () => statSync(partial, { throwIfNoEntry: false })?.size === half, 60_000);
  await first.close();

  repository.answers.clear();
  repository.asked.length = 0;
  const second = await startUpdates({ stateDir, serverUrl: repository.url });
  onTestFinished(() => second.close());
  await confirmed(second, release);
  expect(repository.asked.filter((asked) => asked.startsWith(path))).toEqual([`${path} bytes=${half}-`]);
});

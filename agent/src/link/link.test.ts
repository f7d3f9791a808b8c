import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { machineTime } from "@bellwether/protocol/process/time.io.ts";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../../../test/kit/eventually.ts";
import type { Identity } from "./enrolment.ts";
import { MqttLink } from "./link.ts";
import { createLogin } from "./login.io.ts";
import type { LinkOptions } from "./ports.ts";

/** An HTTP server that refuses each login with this status and these headers. */
async function refusing(status: number, headers: Record<string, string>): Promise<string> {
  const server = createServer((_request, response) => {
    response.writeHead(status, { "content-type": "application/problem+json", ...headers });
    response.end(JSON.stringify({ code: "LOGINS_BUSY", detail: "So many devices log in at once." }));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  onTestFinished(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test.each([
  { what: "asks for 20 s", headers: { "retry-after": "20" }, delayMs: 10_000 },
  { what: "asks for a year", headers: { "retry-after": "31536000" }, delayMs: 250 },
  { what: "asks for a day", headers: { "retry-after": "86400" }, delayMs: 15_000 },
  { what: "asks for a date", headers: { "retry-after": "Wed, 21 Oct 2015 07:28:00 GMT" }, delayMs: 250 },
  { what: "asks for nothing", headers: {}, delayMs: 250 },
])(
  "a device that is refused by a server that $what comes again at a moment within that time, or its own",
  async (row) => {
    const serverUrl = await refusing(503, row.headers);
    const identity = { enrolment: { serverUrl, device: "gw-1", brokerId: "b" }, seed: new Uint8Array(32) };
    const delays: number[] = [];
    const codes: string[] = [];
    const options = {
      mqttUrl: "mqtt://127.0.0.1:9",
      site: "plant",
      device: "gw-1",
      heartbeatMs: 10_000,
      login: () => createLogin(() => identity as unknown as Identity).mqtt(),
      sessions: { next: () => 1 },
      onProblem: ({ code }) => void codes.push(code),
    } as Partial<LinkOptions> as LinkOptions;
    const link = new MqttLink(options, {
      connect: () => Promise.reject(new Error("it must not come that far")),
      time: {
        ...machineTime,
        random: () => 0.5,
        after(delayMs, run) {
          delays.push(delayMs);
          return delays.length === 1 ? () => undefined : machineTime.after(60_000, run);
        },
      },
    });
    link.start();
    // The first is the link's own tick.
    await eventually("it waits for its next try", () => delays.length === 2);
    expect(delays[1]).toBe(row.delayMs);
    expect(codes).toEqual(["SERVER_REFUSED"]);
    await link.stop();
  },
);

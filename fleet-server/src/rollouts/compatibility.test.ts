import type { BirthMessage } from "@bellwether/protocol/messages/device.ts";
import { describe, expect, test } from "vitest";
import { testManifest } from "../../../test/kit/models.ts";
import { incompatibility, offerOf } from "./compatibility.ts";

/** Asks for "x" in mm/s, on x64 or arm64, with 256 MB. */
const manifest = testManifest({ limits: { p99LatencyMs: 50, memoryMb: 256 } });

const birth = (changes: Partial<BirthMessage> = {}): BirthMessage => ({
  v: 1,
  session: 3,
  asset: "pump-1",
  index: 0,
  of: 1,
  channels: [{ channel: "x", unit: "mm/s" }],
  facts: { arch: "arm64", memoryMb: "1024" },
  bindings: {},
  agentVersion: "1.2.3",
  ...changes,
});
const level = { channels: [{ channel: "level", unit: "m" }] };

describe("a device is left out", () => {
  const needs = (changes: object) =>
    testManifest({ compatibility: { opset: 17, executionProviders: ["cpu"], architectures: ["arm64"], ...changes } });
  test.each<[string, string, BirthMessage[], typeof manifest?]>([
    [
      "for its architecture",
      "MODEL_WRONG_ARCHITECTURE",
      [birth({ facts: { arch: "riscv64", memoryMb: "1024" } })],
      needs({}),
    ],
    ["for its memory", "MODEL_NEEDS_MEMORY", [birth()], needs({ minMemoryMb: 1_025 })],
    ["for an agent that is too old", "MODEL_NEEDS_AGENT", [birth()], needs({ minAgentVersion: "1.3.0" })],
    ["for want of a channel", "MODEL_FITS_NO_ASSET", [birth(level)]],
    ["for a unit that does not convert", "MODEL_FITS_NO_ASSET", [birth({ channels: [{ channel: "x", unit: "Cel" }] })]],
    [
      "when its configuration keeps the model off the asset that would do",
      "MODEL_FITS_NO_ASSET",
      [
        birth({ of: 2, bindings: { "pump-rul": null } }),
        birth({ asset: "tank-1", index: 1, of: 2, ...level, bindings: { "pump-rul": {} } }),
      ],
    ],
    [
      "when its configuration gives the model another channel",
      "MODEL_FITS_NO_ASSET",
      [birth({ bindings: { "pump-rul": { x: "level" } } })],
    ],
  ])("%s: %s", (_, code, births, asked = manifest) => {
    expect(incompatibility(asked, births)).toMatchObject({ code, detail: expect.anything() });
  });
});

describe("nothing is held against a device", () => {
  test.each<[string, BirthMessage[], typeof manifest?]>([
    ["that fits", [birth()]],
    ["of whom nothing is known", []],
    ["that says nothing of its memory and architecture", [birth({ facts: {} })]],
    ["whose memory is no number", [birth({ facts: { memoryMb: "plenty" } })]],
    [
      "that rounds its memory down",
      [birth({ facts: { memoryMb: "255" } })],
      testManifest({ limits: { p99LatencyMs: 50, memoryMb: 255.4 } }),
    ],
    ["one of whose assets is still to come", [birth({ of: 2, ...level })]],
    ["that fits with one asset of two", [birth({ of: 2, ...level }), birth({ asset: "pump-2", index: 1, of: 2 })]],
    [
      "whose configuration renames a channel",
      [birth({ ...level, bindings: { "pump-rul": { x: "level" } } })],
      testManifest({ channels: [{ channel: "x", unit: "m" }] }),
    ],
    ["that binds another model only", [birth({ bindings: { other: null } })]],
  ])("%s", (_, births, asked = manifest) => {
    expect(incompatibility(asked, births)).toBeUndefined();
  });

  test("whose agent is too old to tell of its bindings: its sensors are not judged, the rest is", () => {
    const { bindings: _, ...old } = birth(level);
    expect(incompatibility(manifest, [old])).toBeUndefined();
    expect(incompatibility(manifest, [{ ...old, facts: { arch: "mips" } }])).toMatchObject({
      code: "MODEL_WRONG_ARCHITECTURE",
    });
  });
});

test("only the newest life of a device counts", () => {
  const before = birth({ session: 2, asset: "pump-0", facts: { arch: "x64", memoryMb: "9" }, agentVersion: "0.0.1" });
  const offer = offerOf([before, birth()], "pump-rul");
  expect(offer).toMatchObject({ arch: "arm64", memoryMb: 1_024.5, agentVersion: "1.2.3" });
  expect([...offer.assets!.keys()]).toEqual(["pump-1"]);
});

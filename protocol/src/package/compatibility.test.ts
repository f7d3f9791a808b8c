import { expect, test } from "vitest";
import { testManifest } from "../../../test/kit/models.ts";
import { compatible, type DeviceOffer } from "./compatibility.ts";

const offer = (changes: Partial<DeviceOffer> = {}): DeviceOffer => ({
  arch: "x64",
  memoryMb: 1_000,
  agentVersion: "0.10.0",
  assets: new Map([
    ["tank", new Map([["level", "m"]])],
    ["pump", new Map([["x", "[in_i]/s"]])],
  ]),
  ...changes,
});
const needs = (changes: object) =>
  testManifest({ compatibility: { opset: 17, executionProviders: ["cpu"], architectures: ["x64"], ...changes } });

test.each([
  { name: "one asset that has the channels in a unit that converts is enough", code: undefined },
  { name: "another architecture", manifest: needs({ architectures: ["arm64"] }), code: "MODEL_WRONG_ARCHITECTURE" },
  { name: "less memory than it needs", manifest: needs({ minMemoryMb: 1_001 }), code: "MODEL_NEEDS_MEMORY" },
  { name: "an older agent", manifest: needs({ minAgentVersion: "0.11.0" }), code: "MODEL_NEEDS_AGENT" },
  { name: "0.10 is newer than 0.9", manifest: needs({ minAgentVersion: "0.9.9" }), code: undefined },
  { name: "no asset at all", offer: offer({ assets: new Map() }), code: "MODEL_FITS_NO_ASSET" },
  {
    name: "a unit that does not convert",
    offer: offer({ assets: new Map([["pump", new Map([["x", "Cel"]])]]) }),
    code: "MODEL_FITS_NO_ASSET",
  },
  {
    name: "a binding to an asset without them",
    offer: offer({ binding: { assets: ["tank"], channels: {} } }),
    code: "MODEL_FITS_NO_ASSET",
  },
  {
    name: "a binding that renames",
    offer: offer({ binding: { channels: { x: "level" } } }),
    code: "MODEL_FITS_NO_ASSET",
  },
])("$name: $code", ({ manifest = needs({}), offer: offered = offer(), code }) => {
  const fits = compatible(manifest, offered);
  expect(fits.ok ? undefined : fits.error.code).toBe(code);
});

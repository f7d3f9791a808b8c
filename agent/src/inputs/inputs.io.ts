import type { InputConfig } from "../config/config.ts";
import { createHostInput } from "./host.io.ts";
import type { InputAdapter, InputContext } from "./input.ts";
import { createMqttInput } from "./mqtt.io.ts";
import { createReplayInput } from "./replay.io.ts";
import { createSimulatorInput } from "./simulator/simulator.io.ts";

/** The adapter of one configured input, not yet started. */
export function createInput(config: InputConfig, context: InputContext): InputAdapter {
  if (config.type === "simulator") return createSimulatorInput(config, context);
  if (config.type === "replay") return createReplayInput(config, context);
  if (config.type === "mqtt") return createMqttInput(config, context);
  return createHostInput(config, context);
}

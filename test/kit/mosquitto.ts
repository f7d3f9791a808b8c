import { spawn, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** Whether mosquitto is installed; CI must have it, elsewhere it is said what was not tried. */
export function haveMosquitto(tried: string): boolean {
  if (spawnSync("mosquitto", ["-h"]).error === undefined) return true;
  if (process.env["CI"]) throw new Error("mosquitto is not installed");
  console.warn(`mosquitto is not installed: ${tried} was not tried`);
  return false;
}

/** A real mosquitto of the site's own that lets everybody in; it ends with the test. */
export function startMosquitto(folder: string, port: number): void {
  const config = join(folder, "mosquitto.conf");
  writeFileSync(config, `listener ${port} 127.0.0.1\nallow_anonymous true\n`);
  const broker = spawn("mosquitto", ["-c", config], { stdio: "ignore" });
  onTestFinished(() => void broker.kill());
}

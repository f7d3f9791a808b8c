/**
 * Load, memory and temperature by systeminformation, for machines without /proc and /sys. It starts programs of the system to find out, which
 * is why Linux, where a figure is a file, has probes of its own; it is loaded when first asked.
 */
export function otherProbes() {
  return {
    async cpuLoad(): Promise<number | undefined> {
      const { currentLoad } = await import("systeminformation");
      return fractionOf((await currentLoad()).currentLoad / 100);
    },
    async memoryUsedFraction(): Promise<number | undefined> {
      const { mem } = await import("systeminformation");
      const { available, total } = await mem();
      return fractionOf(1 - available / total);
    },
    async temperatureC(): Promise<number | undefined> {
      const { cpuTemperature } = await import("systeminformation");
      // It says null, and once said -1, where there is no sensor.
      const { max } = await cpuTemperature();
      return typeof max === "number" && max > 0 ? max : undefined;
    },
  };
}

function fractionOf(value: number): number | undefined {
  return Number.isFinite(value) ? Math.min(1, Math.max(0, value)) : undefined;
}

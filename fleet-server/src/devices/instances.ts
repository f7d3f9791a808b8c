/** Processes of one device that are remembered; an image copied more often is found by the first ones. */
const PAST_MAX = 8;

/**
 * Finds keys that are on two machines. Every agent process has a random name, and a state directory has one process at a
 * time: whoever speaks again after another process spoke is another machine. A restart never looks like that, however
 * often it happens.
 */
export class Instances {
  readonly #seen = new Map<string, { now: string; past: string[] }>();

  /** A session of a device was opened by this process; true when the device speaks from two machines. */
  opened(device: string, instance: string): boolean {
    const known = this.#seen.get(device);
    if (known === undefined) {
      this.#seen.set(device, { now: instance, past: [] });
      return false;
    }
    if (known.now === instance) return false;
    const cloned = known.past.includes(instance);
    known.past = [...known.past.filter((one) => one !== instance), known.now].slice(-PAST_MAX);
    known.now = instance;
    return cloned;
  }
}

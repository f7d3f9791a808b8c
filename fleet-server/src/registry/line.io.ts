/** One piece of work at a time; who comes may say how long he would wait. */
export interface Line {
  /**
   * Runs `work` when its turn comes. With `waitMs`, answers undefined and runs nothing when `waitingMax` are there already or
   * the turn has not come by then.
   */
  run<T>(work: () => Promise<T>, waitMs?: number): Promise<T | undefined>;
  /** Resolves when nobody is there. */
  empty(): Promise<void>;
}

/** An empty line; `waitingMax` counts the one whose turn it is. */
export function createLine(waitingMax: number): Line {
  const waiting: (() => void)[] = [];
  let busy = false;
  let whenEmpty: (() => void)[] = [];

  function next(): void {
    const begin = waiting.shift();
    busy = begin !== undefined;
    begin?.();
    if (begin) return;
    for (const done of whenEmpty) done();
    whenEmpty = [];
  }

  function turn(waitMs: number | undefined): Promise<boolean> {
    if (!busy) {
      busy = true;
      return Promise.resolve(true);
    }
    if (waitMs !== undefined && waiting.length + 1 >= waitingMax) return Promise.resolve(false);
    return new Promise((resolve) => {
      const begin = () => {
        clearTimeout(timer);
        resolve(true);
      };
      const giveUp = () => {
        waiting.splice(waiting.indexOf(begin), 1);
        resolve(false);
      };
      const timer = waitMs === undefined ? undefined : setTimeout(giveUp, waitMs);
      waiting.push(begin);
    });
  }

  return {
    async run(work, waitMs) {
      if (!(await turn(waitMs))) return undefined;
      try {
        return await work();
      } finally {
        next();
      }
    },
    empty: () => (busy ? new Promise((resolve) => whenEmpty.push(resolve)) : Promise.resolve()),
  };
}

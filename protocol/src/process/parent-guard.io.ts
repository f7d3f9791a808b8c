const LOOK_EVERY_MS = 250;

/**
 * Ends this process when the one that started it is gone. For a thread of its own: the main thread of a child that runs
 * strangers' models may be in native code that never returns, and hears neither of a lost channel nor of a signal's handler.
 */
export function endWithParent(parentPid: number): void {
  setInterval(() => {
    if (process.ppid !== parentPid) process.kill(process.pid, "SIGKILL");
  }, LOOK_EVERY_MS);
}

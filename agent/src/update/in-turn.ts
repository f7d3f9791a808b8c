/** Does what it is given once everything it was given before is over, however that ended. */
export type InTurn = <T>(work: () => T | Promise<T>) => Promise<T>;

/** A line in which work is done one piece at a time, in the order it came. */
export function inTurn(): InTurn {
  let before: Promise<unknown> = Promise.resolve();
  return (work) => {
    const turn = before.then(work);
    before = turn.catch(() => undefined);
    return turn;
  };
}

/** Cells of a feature's table: four times the bins there are at most, so that nearly all cells hold one edge or none. */
const CELLS = 128;

/**
 * The bins of several features' values, as `binOf` of profile.ts finds them, without its search: a table of equal cells
 * says from which edge on to look, and the edges of that cell are walked. Exact for every double, because the cell of a
 * value never falls where the value rises.
 */
export class BinFinder {
  readonly #low: Float64Array;
  readonly #perCell: Float64Array;
  /** Edges that lie in cells below, by feature and cell. */
  readonly #below: Uint8Array;
  readonly #firstEdge: Int32Array;
  readonly #edges: Float64Array;

  /** `edges` of each feature rise; there are fewer than 256 of one. */
  constructor(edges: readonly (readonly number[])[]) {
    this.#low = Float64Array.from(edges, (own) => own[0] ?? 0);
    this.#perCell = Float64Array.from(edges, (own) => {
      const perCell = CELLS / ((own.at(-1) ?? 0) - (own[0] ?? 0));
      return Number.isFinite(perCell) ? perCell : 0;
    });
    // Behind each feature's edges stands one that no value passes.
    this.#edges = Float64Array.from(edges.flatMap((own) => [...own, Number.POSITIVE_INFINITY]));
    this.#firstEdge = new Int32Array(edges.length);
    this.#below = new Uint8Array(edges.length * (CELLS + 1));
    let first = 0;
    for (const [feature, own] of edges.entries()) {
      this.#firstEdge[feature] = first;
      first += own.length + 1;
      const cells = own.map((edge) => this.#cellOf(feature, edge));
      for (let cell = 0; cell <= CELLS; cell += 1) {
        this.#below[feature * (CELLS + 1) + cell] = cells.filter((one) => one < cell).length;
      }
    }
  }

  /** The bin of a feature's value, which is a number: how many of its edges lie below it. */
  of(feature: number, value: number): number {
    const first = this.#firstEdge[feature]!;
    let at = first + this.#below[feature * (CELLS + 1) + this.#cellOf(feature, value)]!;
    while (this.#edges[at]! < value) at += 1;
    return at - first;
  }

  #cellOf(feature: number, value: number): number {
    const cell = (value - this.#low[feature]!) * this.#perCell[feature]!;
    if (cell >= CELLS) return CELLS;
    return cell > 0 ? cell | 0 : 0;
  }
}

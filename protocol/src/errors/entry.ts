/** One row of the error catalogue. */
export interface ErrorEntry {
  /** Status when the error reaches the REST API. */
  readonly http: number;
  /** What was wrong and where; `{name}` is filled from the problem's detail. */
  readonly sentence: string;
  /** What the reader should do about it. */
  readonly remedy: string;
}
export type ErrorTable = Readonly<Record<string, ErrorEntry>>;

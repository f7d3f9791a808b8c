import type { DriftRecord } from "@bellwether/protocol/messages/drift.ts";
import type { EventRecord, InferenceRecord, TelemetryRow } from "@bellwether/protocol/messages/stream.ts";
import type { OutboxEntry } from "../buffer/outbox.ts";
import type { JsonValue } from "../inputs/input.ts";

/** What the intake hands rows to. */
export interface IntakeParts {
  /** Runs the models; never throws for a single vector's sake. */
  readonly process: (rows: readonly TelemetryRow[]) => Promise<{
    readonly inference: readonly InferenceRecord[];
    readonly events: readonly EventRecord[];
    readonly drift: readonly DriftRecord[];
  }>;
  /** Takes records into the outbox's memory. */
  readonly append: (entry: OutboxEntry) => void;
  /** Makes them durable: at once, or at a moment that is good for several; `committed` tells when it is done. */
  readonly commit: (when: "now" | "soon") => void;
  /** The models failed as a whole on these rows: the rows are kept all the same. */
  readonly failed: (cause: unknown) => void;
  /** Rows taken that do not wait for the outbox's own moment to commit. */
  readonly rowsPerCommit: number;
}

interface Offer {
  readonly input: string;
  readonly rows: readonly TelemetryRow[];
  readonly cursor: JsonValue | undefined;
  readonly taken: () => void;
}

/**
 * Between inputs and models. Everything offered while a pass runs forms the next pass, so vectors of several inputs
 * share a batch. An offer is taken once its rows are durable together with what the models said of them and with the
 * input's cursor; an input may have a bounded number of rows on their way until then.
 */
export class Intake {
  readonly #parts: IntakeParts;
  #offers: Offer[] = [];
  #appended: Offer[] = [];
  #rowsAppended = 0;
  #running: Promise<void> | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  /** Resolves when the rows are durable. */
  offer(input: string, rows: readonly TelemetryRow[], cursor?: JsonValue): Promise<void> {
    return new Promise((taken) => {
      this.#offers.push({ input, rows, cursor, taken });
      this.#running ??= this.#run();
    });
  }

  /** Runs `work` between two passes: nothing is processed meanwhile, offers wait. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** The outbox made everything appended durable. */
  committed(): void {
    const durable = this.#appended;
    this.#appended = [];
    this.#rowsAppended = 0;
    for (const { taken } of durable) taken();
  }

  /** Resolves when everything offered so far was processed and appended. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #run(): Promise<void> {
    // Offers of the same tick belong to the same pass.
    await Promise.resolve();
    while (this.#offers.length > 0) {
      const offers = this.#offers;
      this.#offers = [];
      await this.exclusive(() => this.#pass(offers));
    }
    this.#running = undefined;
  }

  async #pass(offers: readonly Offer[]): Promise<void> {
    const { process, append, commit, failed, rowsPerCommit } = this.#parts;
    const rows = offers.length === 1 ? offers[0]!.rows : offers.flatMap((offer) => offer.rows);
    let inference: readonly InferenceRecord[] = [];
    let events: readonly EventRecord[] = [];
    let drift: readonly DriftRecord[] = [];
    try {
      ({ inference, events, drift } = await process(rows));
    } catch (cause) {
      failed(cause);
    }
    // No await from here on: the outbox commits between turns of the loop, so all of this is one transaction.
    for (const { input, rows: own, cursor } of offers) {
      append({ rows: own, ...(cursor === undefined ? {} : { cursor: { input, value: cursor } }) });
    }
    append({ inference, events, drift });
    this.#appended.push(...offers);
    this.#rowsAppended += rows.length;
    commit(this.#rowsAppended >= rowsPerCommit ? "now" : "soon");
  }
}

import type { Database } from "better-sqlite3";
import { deviceView, isShown } from "../../devices/view.ts";
import type { DevicePage, DevicePageQuery } from "../devices.ts";
import { statement } from "./command.ts";
import { type DeviceRow, deviceOf } from "./device-row.ts";

/** Rows read at once where a filter may leave out most of them. */
const FILTERED_AT_ONCE = 1_000;

/** Rows of devices by name. */
export function deviceRows(
  db: Database,
  { sites, after = "", limit }: { readonly sites?: readonly string[]; readonly after?: string; readonly limit: number },
): DeviceRow[] {
  return statement(
    db,
    `SELECT * FROM devices WHERE device > @after AND (@sites IS NULL OR site IN (SELECT value FROM json_each(@sites)))
     ORDER BY device LIMIT @limit`,
  ).all({ after, sites: sites ? JSON.stringify(sites) : null, limit }) as DeviceRow[];
}

/** Reads on until the page is full or nothing is left. */
export function devicePage(db: Database, { limit, filter, nowMs, rule, ...from }: DevicePageQuery): DevicePage {
  const isFiltered = filter.selector.length > 0 || filter.presence !== undefined;
  const atOnce = isFiltered ? FILTERED_AT_ONCE : limit + 1;
  const shown: unknown[] = [];
  let after = from.after;
  let last: string | undefined;
  for (;;) {
    const rows = deviceRows(db, { ...from, ...(after === undefined ? {} : { after }), limit: atOnce });
    for (const row of rows) {
      const device = deviceOf(row);
      if (!isShown(device, filter, nowMs, rule)) continue;
      if (shown.length === limit) return { items: JSON.stringify(shown), ...(last === undefined ? {} : { last }) };
      shown.push(deviceView(device, nowMs, rule));
      last = device.device;
    }
    if (rows.length < atOnce) return { items: JSON.stringify(shown) };
    after = rows.at(-1)?.device;
  }
}

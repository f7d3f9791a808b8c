/** Values of a query by name. */
export type Bound = Readonly<Record<string, string | number | null>>;

/** A condition of a query with its values; undefined where the caller did not ask for it. */
export type Condition = readonly [sql: string, bound: Bound] | undefined;

/** Conditions that were asked for, and only those: one that is always there keeps SQLite from its indexes. */
export function where(conditions: readonly Condition[]): { sql: string; bound: Bound } {
  const asked = conditions.filter((condition) => condition !== undefined);
  return {
    sql: asked.length === 0 ? "" : `WHERE ${asked.map(([sql]) => sql).join(" AND ")}`,
    bound: Object.assign({}, ...asked.map(([, bound]) => bound)),
  };
}

/** The column has this value. */
export function equal(column: string, value: string | undefined): Condition {
  return value === undefined ? undefined : [`${column} = @${column}`, { [column]: value }];
}

/** The column is one of these sites; undefined where all may be seen. */
export function inSites(sites: readonly string[] | undefined, column = "site"): Condition {
  return sites && [`${column} IN (SELECT value FROM json_each(@sites))`, { sites: JSON.stringify(sites) }];
}

import { crc32 } from "node:zlib";

/** Names a schema by what it says. Those of one program are compared when it is built: no two of them have one name. */
export function schemaKey(schema: object): string {
  const text = JSON.stringify(schema);
  return `${crc32(text)}-${text.length}`;
}

import { type Static, Type } from "typebox";
import { mapOf } from "./schema.ts";

/** Labels of a device: what selectors look at. Keys and values as Kubernetes has them, bounded. */
export const Labels = mapOf(
  Type.String({ pattern: "^[A-Za-z0-9](?:[A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?$" }),
  Type.String({ pattern: "^(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9])?)?$" }),
  { maxProperties: 64 },
);
export type Labels = Static<typeof Labels>;

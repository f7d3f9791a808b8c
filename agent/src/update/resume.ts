import type { UpdatePhase } from "@bellwether/protocol/messages/device.ts";

/** What the next start does with an update that was in a phase when the power failed. */
export type Resume =
  | "nothing"
  | "downloadAgain"
  | "verifyAgain"
  | "testAgain"
  | "shadowAgain"
  | "serveAgain"
  | "confirmAgain"
  | "goBack";

/** Complete by the compiler: a new phase does not build without its rule. */
export const RESUME = {
  idle: "nothing",
  downloading: "downloadAgain",
  verifying: "verifyAgain",
  selfTesting: "testAgain",
  shadowing: "shadowAgain",
  activating: "serveAgain",
  confirming: "confirmAgain",
  rollingBack: "goBack",
  failed: "nothing",
} as const satisfies Record<UpdatePhase, Resume>;

import { expect, test } from "vitest";
import { problem } from "./errors.ts";

test("a sentence is one line and nothing that a terminal obeys, whatever strangers' texts it carries", () => {
  const file = "a\r\n\u001b]0;title\u0007\u009b31m\u2028b\u202ec";
  const { message, detail } = problem("FILE_UNREADABLE", { file, reason: "gone" });
  expect(message).toBe(
    String.raw`The file a\u000d\u000a\u001b]0;title\u0007\u009b31m\u2028b\u202ec cannot be used: gone. Check its name and its permissions.`,
  );
  expect(detail["file"]).toBe(file);
});

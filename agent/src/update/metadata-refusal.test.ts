import { expect, test } from "vitest";
import { metadataRefusal } from "./metadata-refusal.ts";

test.each([
  ["TypeError: ECONNREFUSED", "METADATA_UNREACHABLE", true],
  ["DownloadHTTPError: the server answered 503", "METADATA_UNREACHABLE", true],
  ["DownloadHTTPError: the server answered 404", "METADATA_MISSING", false],
  ["DownloadHTTPError: the server answered 304", "METADATA_REFUSED", false],
  // Versions and names are no status, and what is refused for them is not asked again and again.
  ["BadVersionError: New timestamp version 503 is less than current version 504", "METADATA_ROLLBACK", false],
  ["BadVersionError: Expected version 502, got 504", "METADATA_ROOT_SKIPPED", false],
  ["UnsignedMetadataError: retraining~line-503~all was signed by 0/1 keys", "METADATA_NOT_SIGNED", false],
  ["Error: ENOSPC: no space left on device", "UPDATE_DISK_FAILED", true],
])("%s is %s", (reason, code, again) => {
  expect(metadataRefusal(reason)).toMatchObject({ problem: { code }, again });
});

import { keyPairOf } from "@bellwether/protocol/trust/keys.ts";
import { expect, test } from "vitest";
import { keyFileText, openKeyFile, readKeyFile } from "./key-file.ts";

const pair = keyPairOf(Buffer.alloc(32, 7));
const key = { role: "targets", pair } as const;
const seal = { passphrase: "correct horse", salt: Buffer.alloc(16, 1), nonce: Buffer.alloc(12, 2) };

function opened(text: string, passphrase?: string) {
  const read = readKeyFile(text, "a.key");
  if (!read.ok) return read.error.message;
  const key = openKeyFile(read.value, "a.key", passphrase);
  return key.ok ? key.value : key.error.message;
}

test("a key opens as it was kept, in the clear or with its passphrase and no other", () => {
  expect(opened(keyFileText(key))).toEqual(key);
  const sealed = keyFileText(key, seal);
  expect(sealed).not.toContain(Buffer.from(pair.seed).toString("hex"));
  expect(opened(sealed, "correct horse")).toEqual(key);
  expect(opened(sealed, "wrong horse")).toContain("the passphrase does not open it");
  expect(opened(sealed)).toContain("the passphrase does not open it");
});

test("a file that somebody changed is refused: another role, another public half, a byte of the box", () => {
  const bent = (change: object) => JSON.stringify({ ...JSON.parse(keyFileText(key, seal)), ...change });
  expect(opened(bent({ role: "root" }), seal.passphrase)).toContain("does not open");
  expect(opened(bent({ box: "00".repeat(48) }), seal.passphrase)).toContain("does not open");
  expect(opened(bent({ scrypt: { n: 2, salt: "00".repeat(16) } }), seal.passphrase)).toContain("a.key");
  const plain = { ...JSON.parse(keyFileText(key)), publicKey: "ab".repeat(32) };
  expect(opened(JSON.stringify(plain))).toContain("do not belong together");
  expect(opened("{}")).toContain("a.key");
});

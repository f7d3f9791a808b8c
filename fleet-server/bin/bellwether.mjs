#!/usr/bin/env node
// Plain JavaScript on purpose: an old Node must be able to read this far, to say what is wrong.
const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 24 || (major === 24 && minor < 15)) {
  console.error(
    `bellwether needs Node 24.15 or newer, this is ${process.versions.node}. Start it as "npx bellwether", which uses the Node of the lock file.`,
  );
  process.exit(1);
}
await import("../src/main.ts");

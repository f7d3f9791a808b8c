"use strict";
// Runs first in the executable, and again as the script of every thread: evaluates the one bundle it carries. What the
// bundle requires beyond Node's own modules, the native addons, lies beside the executable.
const { createRequire } = require("node:module");
const { getAsset } = require("node:sea");
const { Script } = require("node:vm");

const program = new Script(getAsset("agent.cjs", "utf8"), { filename: "agent.cjs" });
program.runInThisContext()(createRequire(process.execPath));

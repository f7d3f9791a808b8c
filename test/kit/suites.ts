/**
 * Compares what the last test run executed with the checked-in list, so that a suite cannot vanish, stand empty or be
 * skipped unnoticed. `--write` renews the list.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

const root = resolve(import.meta.dirname, "../..");
const listFile = join(root, "test/SUITES.txt");
const reportFile = process.env["BELLWETHER_TEST_REPORT"] ?? join(root, ".cache/test-report.json");

const report = JSON.parse(readFileSync(reportFile, "utf8")) as Report;
const suites = report.testResults.map((suite) => relative(root, suite.name)).sort();
const problems: string[] = [];
let passed = 0;
for (const suite of report.testResults) {
  if (suite.assertionResults.length === 0) problems.push(`${relative(root, suite.name)}: no test in it ran`);
  for (const test of suite.assertionResults) {
    if (test.status === "passed") passed++;
    else problems.push(`${relative(root, suite.name)}: "${test.fullName}" is ${test.status}`);
  }
}

if (process.argv.includes("--write")) {
  writeFileSync(listFile, `${suites.join("\n")}\n`);
} else {
  const listed = readFileSync(listFile, "utf8").split("\n").filter(Boolean);
  for (const suite of listed.filter((name) => !suites.includes(name)))
    problems.push(`${suite}: listed, but did not run`);
  for (const suite of suites.filter((name) => !listed.includes(name))) {
    problems.push(`${suite}: ran, but is not listed; run "npm run suites -- --write"`);
  }
}

for (const problem of problems) console.error(problem);
console.log(`${suites.length} suites`);
console.log(`${passed} passed, ${problems.length} failed`);
process.exitCode = problems.length === 0 ? 0 : 1;

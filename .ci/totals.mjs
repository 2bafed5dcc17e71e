// node .ci/totals.mjs folder suite...: adds up vitest's JSON reports. Its last line is "N passed, N failed". Exit code 1 when a
// test failed, a suite has no report or no test, or a test was skipped that does not say in its name when it is.
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

const [folder, ...suites] = process.argv.slice(2);
let passed = 0;
let failed = 0;
let isComplete = true;

for (const suite of suites) {
  const file = path.join(folder, `${suite}.json`);
  const report = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
  if (report === undefined || report.numTotalTests === 0) {
    console.log(`skipped: ${suite} did not run`);
    isComplete = false;
    continue;
  }
  passed += report.numPassedTests;
  failed += report.numFailedTests;
  isComplete &&= report.success;
  for (const { assertionResults } of report.testResults) {
    for (const { status, fullName } of assertionResults) {
      if (status === 'passed' || status === 'failed') continue;
      const saysWhen = /\(only [^)]+\)$/.test(fullName);
      console.log(`skipped: ${suite}: ${fullName}${saysWhen ? '' : ', which must run'}`);
      isComplete &&= saysWhen;
    }
  }
}

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = isComplete && failed === 0 ? 0 : 1;

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Results } from './autobahn.ts';

/** One run of the suite, as it is kept. */
export interface Run {
  readonly suite: string;
  readonly date: string;
  readonly node: string;
  /** Case → its verdict, or both verdicts when that about the close is another: `OK`, `FAILED/OK`. */
  readonly cases: Readonly<Record<string, string>>;
}

const root = path.join(import.meta.dirname, '../..');
const folder = path.join(root, 'interop/autobahn/results');
export const PAGE = path.join(root, 'docs/reference/conformance.md');

/** The four runs, each against one side, with permessage-deflate off or on. */
export const RUNS = {
  server: 'Server',
  client: 'Client',
  'server-deflate': 'Server, permessage-deflate',
  'client-deflate': 'Client, permessage-deflate',
} as const;
export type RunName = keyof typeof RUNS;

const SECTIONS: Readonly<Record<string, string>> = {
  '1': 'Framing',
  '2': 'Pings and pongs',
  '3': 'Reserved bits',
  '4': 'Opcodes',
  '5': 'Fragmentation',
  '6': 'UTF-8',
  '7': 'Closing',
  '9': 'Limits, large messages',
  '10': 'Automatic fragmentation',
  '12': 'Compression',
  '13': 'Compression, other settings',
};

/** Why a verdict is not OK although the case passes. By the first numbers of the case. */
const REASONS: readonly (readonly [cases: string, why: string])[] = [
  [
    '6.4',
    'Text that is no UTF-8 in the middle of a message, sent piece by piece. The suite likes an end at the first wrong byte (`OK`) and takes one at the end of the frame or message (`NON-STRICT`). A text is checked when it is complete, so the end comes then, with 1007.',
  ],
  ['7.1.6', 'The peer closes behind a large message: whether its echo still comes is open. The suite only takes notes.'],
  ['7.13', 'Close codes that no standard knows (5000, 65536). The suite only takes notes; we answer 1002.'],
];

export function verdicts(results: Results): Record<string, string> {
  const entries = Object.entries(results).map(([number, { behavior, behaviorClose }]) => {
    const isSame = behaviorClose === behavior || (behaviorClose === 'OK' && behavior !== 'FAILED');
    return [number, isSame ? behavior : `${behavior}/${behaviorClose}`] as const;
  });
  return Object.fromEntries(entries.sort(([one], [other]) => compareCases(one, other)));
}

function compareCases(one: string, other: string): number {
  return one.localeCompare(other, 'en', { numeric: true });
}

/** Keeps a run, when the environment asks for it: PORTICO_REPORT=1. */
export function keepRun(name: RunName, suite: string, results: Results): void {
  if (process.env['PORTICO_REPORT'] !== '1') return;
  const run: Run = { suite, date: new Date().toISOString().slice(0, 10), node: process.version, cases: verdicts(results) };
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, `${name}.json`), `${JSON.stringify(run, null, 2)}\n`);
}

export function keptRun(name: RunName): Run | undefined {
  const file = path.join(folder, `${name}.json`);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Run) : undefined;
}

/** The page of docs/reference, made of the runs that are kept. */
export function conformancePage(): string {
  const runs = (Object.keys(RUNS) as RunName[]).flatMap((name) => {
    const run = keptRun(name);
    return run === undefined ? [] : [{ name, run }];
  });
  const sections = Object.keys(SECTIONS).filter((section) => runs.some(({ run }) => casesOf(run, section).length > 0));
  const table = [
    `| section | ${runs.map(({ name }) => RUNS[name]).join(' | ')} |`,
    `|---|${'---|'.repeat(runs.length)}`,
    ...sections.map(
      (section) => `| ${section} ${SECTIONS[section]} | ${runs.map(({ run }) => summary(casesOf(run, section))).join(' | ')} |`,
    ),
    `| all | ${runs.map(({ run }) => summary(Object.entries(run.cases))).join(' | ')} |`,
  ];
  const dates = [...new Set(runs.map(({ run }) => `${run.suite}, ${run.date}, Node ${run.node}`))];
  return `# WebSocket conformance

RFC 6455 and RFC 7692, by the cases of the [Autobahn test suite](https://github.com/crossbario/autobahn-testsuite). This page is made
from a run, kept case by case in \`interop/autobahn/results\`.

Run: ${dates.join('; ')}.

Passed of all cases of a section; an empty field: not run there.

${table.join('\n')}

## Verdicts other than OK

${others(runs.map(({ run }) => run)).join('\n')}

## What is set for the run

\`withMaxPackageBytes\` and \`withSendQueue\` of 64 MiB and \`withMaxFragments(100_000)\`: section 9 sends messages of 16 MiB, and 4 MiB in
65 536 fragments. By default portico takes 1 MiB in 1024 fragments and closes with 1009 or 1008 beyond that.

With permessage-deflate: \`withPermessageDeflate({ thresholdBytes: 0 })\`. Each run of the tests takes 48 cases of sections 12 and 13;
all 216 take some twenty minutes.

## Again

\`\`\`sh
scripts/interop-peers.sh autobahn
npx vitest run --mode interop test/interop/ws-autobahn.test.ts
\`\`\`

\`PORTICO_AUTOBAHN=all\` in the environment runs all cases of sections 12 and 13, \`PORTICO_REPORT=1\` writes the results and this page.
`;
}

type Cases = readonly (readonly [number: string, verdict: string])[];

function casesOf(run: Run, section: string): Cases {
  return Object.entries(run.cases).filter(([number]) => number.startsWith(`${section}.`));
}

const PASSES: readonly string[] = ['OK', 'NON-STRICT', 'INFORMATIONAL'];

export function failuresOf(cases: Readonly<Record<string, string>>): string[] {
  return Object.entries(cases)
    .filter(([, verdict]) => !PASSES.includes(verdict))
    .map(([number, verdict]) => `${number} ${verdict}`);
}

function summary(cases: Cases): string {
  return cases.length === 0 ? '' : `${cases.length - failuresOf(Object.fromEntries(cases)).length} of ${cases.length}`;
}

/** One line for all cases with the same verdict for the same reason. */
function others(runs: readonly Run[]): string[] {
  const lines = new Map<string, Set<string>>();
  for (const [number, verdict] of runs.flatMap((run) => Object.entries(run.cases))) {
    if (verdict === 'OK') continue;
    const why = REASONS.find(([prefix]) => number === prefix || number.startsWith(`${prefix}.`))?.[1] ?? 'No reason is known.';
    const line = `${verdict}. ${why}`;
    lines.set(line, (lines.get(line) ?? new Set()).add(number));
  }
  if (lines.size === 0) return ['None.'];
  return [...lines].map(([line, numbers]) => `- ${[...numbers].sort(compareCases).join(', ')}: ${line}`);
}

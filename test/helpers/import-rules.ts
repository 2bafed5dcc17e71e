import path from 'node:path';
import ts from 'typescript';

/**
 * Who may import whom, value or type; `transport/connection.ts` means that one file of the layer. AGENTS.md shows the same table; a
 * test compares the two.
 */
export const IMPORT_RULES = {
  base: [],
  transport: ['base'],
  codec: ['base'],
  session: ['base', 'codec', 'transport/connection.ts'],
  endpoint: ['base', 'transport', 'codec', 'session'],
  'worker-pool': ['base', 'session'],
  protocol: ['base'],
  protobuf: ['base', 'protocol'],
  backplane: ['base'],
  'backplane-redis': ['base', 'backplane'],
  'backplane-nats': ['base', 'backplane'],
  'rate-limit': ['base', 'session'],
  router: ['base', 'codec', 'session', 'protocol'],
  command: ['base', 'codec', 'session', 'protocol', 'backplane'],
  rpc: ['base', 'codec', 'session', 'protocol'],
  browser: ['base', 'protocol', 'command/wire.ts', 'command/replay.ts', 'rpc/rpc-peer.ts', 'rpc/rpc-wire.ts'],
  testing: ['base', 'transport', 'codec', 'session', 'backplane'],
  'index.ts': ['base', 'transport', 'codec', 'session', 'endpoint'],
} as const satisfies Record<string, readonly string[]>;

/** The layers of the core, in the order of the data path. They have no index.ts: an index.ts is a public entry point. */
export const LAYERS = ['base', 'transport', 'codec', 'session', 'endpoint'] as const;

/** Which npm package each folder may import; `node:` modules are free. */
export const PACKAGE_RULES: Readonly<Record<string, readonly string[]>> = {
  base: ['debug', 'eventemitter3'],
  transport: ['ws'],
  session: ['p-queue'],
  endpoint: ['p-queue'],
  'worker-pool': ['piscina'],
  protobuf: ['@bufbuild/protobuf'],
  'backplane-redis': ['@redis/client'],
  'backplane-nats': ['@nats-io/transport-node'],
};

export type Rules = Readonly<Record<string, readonly string[]>>;

/** File name relative to src, with forward slashes → its text. */
export type Sources = ReadonlyMap<string, string>;

export interface ImportEdge {
  readonly file: string;
  readonly line: number;
  readonly specifier: string;
  /** The imported file relative to src; undefined for a package. */
  readonly target: string | undefined;
  readonly typeOnly: boolean;
}

/** Every import, re-export, dynamic import and `import('…')` type of one file. */
export function importsOf(file: string, text: string): ImportEdge[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ESNext, true);
  const edges: ImportEdge[] = [];
  const add = (specifier: ts.Node | undefined, typeOnly: boolean): void => {
    if (specifier === undefined || !ts.isStringLiteralLike(specifier)) return;
    const relative = specifier.text.startsWith('.');
    edges.push({
      file,
      line: source.getLineAndCharacterOfPosition(specifier.getStart()).line + 1,
      specifier: specifier.text,
      target: relative ? path.posix.join(path.posix.dirname(file), specifier.text) : undefined,
      typeOnly,
    });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword);
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) add(node.arguments[0], false);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return edges;
}

export function importsOfAll(sources: Sources): ImportEdge[] {
  return [...sources].flatMap(([file, text]) => importsOf(file, text));
}

/** The row of the table a file falls under: its folder in src, or the file itself at the top. */
export function ruleOf(file: string): string {
  return file.split('/')[0] ?? file;
}

export function mayImport(from: string, target: string, rules: Rules = IMPORT_RULES): boolean {
  const own = ruleOf(from) === ruleOf(target);
  return own || (rules[ruleOf(from)] ?? []).some((allowed) => allowed === target || allowed === ruleOf(target));
}

/** One line for each import that the tables do not allow. */
export function violations(edges: readonly ImportEdge[], rules: Rules = IMPORT_RULES, packages: Rules = PACKAGE_RULES): string[] {
  return edges.flatMap((edge) => {
    const row = ruleOf(edge.file);
    const where = `${edge.file}:${edge.line} imports ${edge.specifier}`;
    if (rules[row] === undefined) return [`${where}: ${row} has no row in IMPORT_RULES`];
    if (edge.target === undefined) {
      const free = edge.specifier.startsWith('node:') || (packages[row] ?? []).includes(edge.specifier);
      return free ? [] : [`${where}: not a package for ${row}`];
    }
    if (path.posix.basename(edge.target) === 'index.ts') return [`${where}: an index.ts is for users only`];
    return mayImport(edge.file, edge.target, rules) ? [] : [`${where}: ${row} <- ${(rules[row] ?? []).join(', ') || 'nothing of ours'}`];
  });
}

/** Import cycles, each as `a.ts > b.ts > a.ts`. */
export function cycles(edges: readonly Pick<ImportEdge, 'file' | 'target'>[]): string[] {
  const targets = new Map<string, string[]>();
  for (const { file, target } of edges) {
    if (target !== undefined) targets.set(file, [...(targets.get(file) ?? []), target]);
  }
  const found = new Set<string>();
  const done = new Set<string>();
  const walk = (file: string, trail: readonly string[]): void => {
    const start = trail.indexOf(file);
    if (start >= 0) found.add([...trail.slice(start), file].join(' > '));
    if (start >= 0 || done.has(file)) return;
    for (const target of targets.get(file) ?? []) walk(target, [...trail, file]);
    done.add(file);
  };
  for (const file of targets.keys()) walk(file, []);
  return [...found];
}

/** `any`, `!` and silenced compiler errors, each as `file:line what`. */
export function looseTypes(file: string, text: string): string[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ESNext, true);
  const lineOf = (position: number): number => source.getLineAndCharacterOfPosition(position).line + 1;
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    if (node.kind === ts.SyntaxKind.AnyKeyword) found.push(`${file}:${lineOf(node.getStart())} any`);
    if (ts.isNonNullExpression(node)) found.push(`${file}:${lineOf(node.getEnd())} !`);
    ts.forEachChild(node, visit);
  };
  visit(source);
  for (const match of text.matchAll(/^\s*(?:\/\/|\/\*)\s*(@ts-(?:ignore|nocheck))/gm)) {
    found.push(`${file}:${lineOf(match.index + match[0].length)} ${match[1]}`);
  }
  return found;
}

/** The table as AGENTS.md shows it. */
export function rulesAsText(rules: Rules = IMPORT_RULES): string {
  const width = Math.max(...Object.keys(rules).map((row) => row.length));
  return Object.entries(rules)
    .map(([row, allowed]) => `${row.padEnd(width)} <- ${allowed.length === 0 ? 'nothing of ours' : allowed.join(', ')}`)
    .join('\n');
}

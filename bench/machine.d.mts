export interface Run {
  readonly date: string;
  readonly command: string;
  readonly commit: string;
  readonly uncommittedChanges: boolean;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryGiB: number;
    readonly kernel: string;
    readonly node: string;
    readonly v8: string;
    readonly cc: string;
    readonly congestionControl: string;
    readonly loadAverage1m: number;
  };
}

export function describeRun(): Run;
export function headline(run: Run): string;
export function openFileLimit(): number;
export function median(values: readonly number[]): number;

/** What a benchmark reports: a figure, what it was measured beside in the same run, and the target it is held against. */

export type Figure = {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** Measured in the same run, on the same machine, doing the nearest thing without Farebox. */
  readonly beside?: { readonly name: string; readonly value: number };
  /** `value / beside.value`, where a ratio says something. */
  readonly ratio?: number;
  readonly target?: { readonly text: string; readonly isMet: boolean };
};

export type Scenario = { readonly name: string; readonly run: (say: (line: string) => void) => Promise<Figure[]> };

export function ratioFigure(
  name: string,
  value: number,
  unit: string,
  beside: { readonly name: string; readonly value: number },
  target?: { readonly ratioMin: number },
): Figure {
  const ratio = value / beside.value;
  return {
    name,
    value,
    unit,
    beside,
    ratio,
    ...(target === undefined ? {} : { target: { text: `>= ${percent(target.ratioMin)}`, isMet: ratio >= target.ratioMin } }),
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** The value below which `share` of them lie; `NaN` of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export function renderTable(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => [
    figure.name,
    `${round(figure.value)} ${figure.unit}`,
    figure.beside === undefined ? '' : `${round(figure.beside.value)} (${figure.beside.name})`,
    figure.ratio === undefined ? '' : percent(figure.ratio),
    figure.target === undefined ? '' : `${figure.target.text}: ${figure.target.isMet ? 'met' : 'MISSED'}`,
  ]);
  const header = ['figure', 'Farebox', 'beside', 'ratio', 'target'];
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return [line(header), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

function round(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3);
}

function percent(ratio: number): string {
  return `${Math.round(ratio * 100)} %`;
}

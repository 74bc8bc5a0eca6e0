/** Processor time of a process with all its children, where the system tells (`/proc/<pid>/stat`, Linux). */
import { readdirSync, readFileSync } from 'node:fs';

/** `USER_HZ`, which is 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Indexes after the name, which stands in brackets: proc_pid_stat(5), fields 4, 14 and 15. */
const PARENT = 1;
const USER_TICKS = 11;
const SYSTEM_TICKS = 12;

type ProcessTimes = { readonly pid: number; readonly name: string; readonly parent: number; readonly ms: number };

/** Milliseconds that the process and its living children have used so far; 0 where the system does not say. */
export function cpuMsOf(pid: number): number {
  const all = processTimes();
  const total = (root: number): number => {
    let ms = all.find((one) => one.pid === root)?.ms ?? 0;
    for (const child of all) if (child.parent === root) ms += total(child.pid);
    return ms;
  };
  return total(pid);
}

/** A child of this process by the name of its program, such as `java`. */
export function childNamed(name: string): number | null {
  return processTimes().find((one) => one.parent === process.pid && one.name === name)?.pid ?? null;
}

function processTimes(): ProcessTimes[] {
  const times: ProcessTimes[] = [];
  for (const entry of listed('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const stat = textOf(`/proc/${entry}/stat`);
    if (stat === '') continue;
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[USER_TICKS]) + Number(fields[SYSTEM_TICKS]);
    const name = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
    times.push({ pid, name, parent: Number(fields[PARENT]), ms: (ticks * 1_000) / TICKS_PER_SECOND });
  }
  return times;
}

function listed(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Empty for a process that has ended in the meantime. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

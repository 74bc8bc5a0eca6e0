/**
 * `npm run bench [-- scenario …]`: runs the scenarios one after the other and prints a table and, as the last line, JSON.
 * `npm run bench -- --distributed` measures the distributed wiring instead, and with named scenarios those as well.
 */
import { cpus, loadavg } from 'node:os';
import { distributedScenario } from './scenarios/distributed.js';
import { engineScenario } from './scenarios/engine.js';
import { httpScenario } from './scenarios/http.js';
import { ledgerScenario } from './scenarios/ledger.js';
import { limitsScenario } from './scenarios/limits.js';
import { memoryScenario } from './scenarios/memory.js';
import { rebuildScenario } from './scenarios/rebuild.js';
import { type Figure, renderTable } from './support/figures.js';

const SCENARIOS = [httpScenario, ledgerScenario, rebuildScenario, engineScenario, memoryScenario, limitsScenario];

const DISTRIBUTED_FLAG = '--distributed';
const isDistributed = process.argv.includes(DISTRIBUTED_FLAG);
const wanted = process.argv.slice(2).filter((argument) => argument !== DISTRIBUTED_FLAG);
const unknown = wanted.filter((name) => !SCENARIOS.some((scenario) => scenario.name === name));
if (unknown.length > 0) {
  process.stderr.write(`no scenario ${unknown.join(', ')}; there are ${SCENARIOS.map((scenario) => scenario.name).join(', ')}\n`);
  process.exit(2);
}

const figures: Figure[] = [];
const chosen = SCENARIOS.filter(({ name }) => (wanted.length === 0 && !isDistributed) || wanted.includes(name));
for (const scenario of isDistributed ? [...chosen, distributedScenario] : chosen) {
  process.stderr.write(`— ${scenario.name}\n`);
  figures.push(...(await scenario.run((line) => void process.stderr.write(`  ${line}\n`))));
}
const machine = { cpus: cpus().length, model: cpus()[0]?.model ?? 'unknown', node: process.version, loadAverage: loadavg() };
process.stdout.write(`${renderTable(figures)}\n\n${JSON.stringify({ machine, figures })}\n`);

/** A process whose only job is to be killed: it owns an embedded Postgres in the directory it is given and says so on standard output. */
import { pino } from 'pino';
import { startEmbeddedPostgres } from '../embedded.js';

const [dataDirectory] = process.argv.slice(2);
if (dataDirectory === undefined) throw new Error('usage: embedded-host <data directory>');
const server = await startEmbeddedPostgres({ dataDirectory, logger: pino({ level: 'silent' }) });
process.stdout.write(`${JSON.stringify({ postmasterPid: server.postmasterPid(), connectionString: server.connectionString })}\n`);
// Standard input stays open as long as the test wants this process to live.
process.stdin.resume();
process.stdin.on('end', () => void server.stop());

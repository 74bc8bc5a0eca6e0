/** How the embedded Postgres is set up: durable, small, and reachable by its socket only. Passed at each start, so an upgrade applies. */
import { totalmem } from 'node:os';
import { SOCKET_PORT } from './socket-directory.js';

/** Farebox's pools together stay below; a backend that does nothing costs about 2 MB. */
const CONNECTIONS_MAX = 100;
/** The working set of a busy ledger (index tails, open runs) fits; the operating system caches the rest of the log. */
const SHARED_BUFFERS_MAX_MB = 256;
const SHARED_BUFFERS_MIN_MB = 32;
/** Share of the machine's memory, which llama.cpp needs for other things. */
const SHARED_BUFFERS_MEMORY_SHARE = 1 / 16;

export function serverSettings(socketDirectory: string): Readonly<Record<string, string>> {
  const memoryMb = totalmem() / 1024 ** 2;
  const sharedBuffersMb = Math.min(
    SHARED_BUFFERS_MAX_MB,
    Math.max(SHARED_BUFFERS_MIN_MB, Math.floor(memoryMb * SHARED_BUFFERS_MEMORY_SHARE)),
  );
  return {
    listen_addresses: '',
    unix_socket_directories: socketDirectory,
    unix_socket_permissions: '0700',
    port: String(SOCKET_PORT),
    max_connections: String(CONNECTIONS_MAX),
    shared_buffers: `${sharedBuffersMb}MB`,
    // Acknowledged means durable.
    fsync: 'on',
    synchronous_commit: 'on',
    full_page_writes: 'on',
    // After a crash one call flushes the file system; opening and flushing every file of the directory took two seconds longer.
    ...(process.platform === 'linux' ? { recovery_init_sync_method: 'syncfs' } : {}),
    // Nothing replicates from an embedded server; with `minimal`, a table filled in the transaction that made it is not written twice.
    wal_level: 'minimal',
    max_wal_senders: '0',
    wal_buffers: '16MB',
    // Bounds both the disk and how long recovery takes after a crash.
    max_wal_size: '1GB',
    min_wal_size: '256MB',
    checkpoint_timeout: '5min',
    checkpoint_completion_target: '0.9',
    random_page_cost: '1.1',
    work_mem: '8MB',
    maintenance_work_mem: '64MB',
    // Compiling a query costs more than any of ours takes.
    jit: 'off',
    // Reads ahead in worker processes gain nothing on a machine of a few cores whose data is cached.
    io_method: 'sync',
    max_parallel_workers_per_gather: '0',
    timezone: 'UTC',
    log_timezone: 'UTC',
    lc_messages: 'C',
    log_line_prefix: '',
    log_checkpoints: 'off',
    // Statement errors go to the client that caused them. Their details would carry rows, and so e-mail addresses, into the log.
    log_min_messages: 'log',
    log_error_verbosity: 'terse',
  };
}

export function settingArguments(settings: Readonly<Record<string, string>>): string[] {
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
}

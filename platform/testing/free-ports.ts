/** Ports that nothing listens on, for processes that must know each other's address before they start. */

import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';

/** All are held until the last is found, so that none comes twice. Another process may still take one before it is used. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  await Promise.all(servers.map((server) => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

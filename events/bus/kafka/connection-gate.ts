/**
 * Every connection of one Kafka client, so that the client can be cut off for good. kafkajs reconnects and repeats by itself; a producer or
 * consumer that has been given up must not write or commit anything behind its successor's back.
 */
import { isIP, type Socket, connect as tcpConnect } from 'node:net';
import { connect as tlsConnect } from 'node:tls';
import type { ISocketFactory } from 'kafkajs';

const KEEP_ALIVE_DELAY_MS = 30_000;

export type ConnectionGate = {
  readonly socketFactory: ISocketFactory;
  /** Ends every connection and refuses new ones. */
  cut(): void;
};

export function connectionGate(): ConnectionGate {
  const sockets = new Set<Socket>();
  let isCut = false;
  return {
    socketFactory: ({ host, port, ssl, onConnect }) => {
      if (isCut) throw new Error('this client has been given up');
      const address = { host, port };
      const socket = ssl
        ? tlsConnect({ ...address, ...(isIP(host) === 0 ? { servername: host } : {}), ...ssl }, onConnect)
        : tcpConnect(address, onConnect);
      socket.setKeepAlive(true, KEEP_ALIVE_DELAY_MS);
      // Requests are small and someone waits for each.
      socket.setNoDelay(true);
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      return socket;
    },
    cut() {
      isCut = true;
      // The library rejects what waits on a connection when it hears of an error, not when it is merely closed.
      for (const socket of sockets) socket.destroy(new Error('this client has been given up'));
      sockets.clear();
    },
  };
}

/**
 * Closes the holes of `@eventstore/db-client` 6.2.1 that would end the process or keep it from ending. They are in members that its types
 * hide; the tests of `db-client.ts` fail when a newer version changes them.
 */

type Channel = { close(): void };
type DataStream = {
  listeners(event: 'data'): ((message: unknown) => void)[];
  removeAllListeners(event: 'data'): unknown;
  on(event: 'data', listener: (message: unknown) => void): unknown;
};
type StreamCreator = (client: unknown) => DataStream | Promise<DataStream>;

/** Members of the client's class that its types hide. They are looked up at every call, so replacing them on one client is enough. */
export type ClientInternals = {
  handleError(client: unknown, error: unknown): Promise<void>;
  createChannel(): Promise<Channel>;
  GRPCStreamCreator(service: unknown, name: string, creator: StreamCreator, cache?: unknown): () => Promise<unknown>;
};

/** Reconnecting is started without anyone waiting for it. What failed is found out by whoever uses the connection next. */
export function guardReconnect(internals: ClientInternals): void {
  const handleError = internals.handleError;
  internals.handleError = (client, error) => handleError(client, error).catch(() => {});
}

/**
 * The client keeps the answers it expects to batch appends in one table for the whole process, and empties it whenever any batch stream
 * breaks; an answer that comes later throws in the listener. Only batch appends hand in a cache.
 */
export function guardBatchAnswers(internals: ClientInternals): void {
  const createStream = internals.GRPCStreamCreator;
  internals.GRPCStreamCreator = (service, name, creator, cache) => {
    if (cache === undefined) return createStream(service, name, creator, cache);
    const guarded: StreamCreator = async (client) => {
      const stream = await creator(client);
      const listeners = stream.listeners('data');
      stream.removeAllListeners('data');
      stream.on('data', (answer) => {
        try {
          for (const listener of listeners) listener(answer);
        } catch {
          // The append has been told that its outcome is unknown, and has found out for itself.
        }
      });
      return stream;
    };
    return createStream(service, name, guarded, cache);
  };
}

/** The client has no way to close its connection. Returns one, which also holds for a connection that is still being made. */
export function trackChannels(internals: ClientInternals): () => void {
  const createChannel = internals.createChannel;
  let latest: Channel | null = null;
  let isClosed = false;
  // The client itself closes a channel before it makes another.
  internals.createChannel = async () => {
    latest = await createChannel();
    if (isClosed) latest.close();
    return latest;
  };
  return () => {
    isClosed = true;
    latest?.close();
  };
}

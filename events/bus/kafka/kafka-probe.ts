/**
 * Asks the cluster, on a connection of its own, whether it answers and which topics it has. Publishing and reading have long patience and
 * queues of their own; readiness must not wait for them.
 */
import type { Admin } from 'kafkajs';
import type { Logger } from 'pino';
import { type ConnectionGate, connectionGate } from './connection-gate.js';
import { type KafkaSettings, kafkaClient } from './kafka-settings.js';

/** An answer counts this long, so that many askers cost one request a second. */
export const PROBE_AGE_MS_MAX = 1_000;
/** A cluster that takes longer to list its topics is not one to begin work on. */
export const PROBE_TIMEOUT_MS = 2_000;
/** A topic that is missing, or may be, is looked for again after this long at the earliest. */
const DOUBTED_TOPIC_AGE_MS_MAX = 250;

type Answer = { readonly topics: ReadonlySet<string> | null; readonly atMs: number };

export class KafkaProbe {
  readonly #settings: KafkaSettings;
  readonly #logger: Logger;
  #client: { readonly admin: Admin; readonly gate: ConnectionGate } | null = null;
  #asking: Promise<Answer> | null = null;
  #last: Answer | null = null;
  #isClosed = false;

  constructor(settings: KafkaSettings, logger: Logger) {
    this.#settings = settings;
    this.#logger = logger;
  }

  /** Whether the cluster answered within the last `PROBE_AGE_MS_MAX`, asking it when nobody has. Never rejects; takes `PROBE_TIMEOUT_MS` at most. */
  async isReachable(): Promise<boolean> {
    return (await this.#answer(PROBE_AGE_MS_MAX)).topics !== null;
  }

  /** Whether the cluster has the topic, as far as is known. `null` when it does not answer. */
  async hasTopic(topic: string): Promise<boolean | null> {
    if (this.#last?.topics?.has(topic)) return true;
    return this.stillHasTopic(topic);
  }

  /** The same, for a topic that may have been made or removed a moment ago. */
  async stillHasTopic(topic: string): Promise<boolean | null> {
    const { topics } = await this.#answer(DOUBTED_TOPIC_AGE_MS_MAX);
    return topics === null ? null : topics.has(topic);
  }

  close(): void {
    this.#isClosed = true;
    this.#dropClient();
  }

  async #answer(ageMsMax: number): Promise<Answer> {
    if (this.#last !== null && performance.now() - this.#last.atMs <= ageMsMax) return this.#last;
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #ask(): Promise<Answer> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), PROBE_TIMEOUT_MS);
    });
    const topics = await Promise.race([this.#listTopics().catch(() => null), timeout]);
    clearTimeout(timer);
    if (topics === null) this.#dropClient();
    this.#last = { topics, atMs: performance.now() };
    return this.#last;
  }

  async #listTopics(): Promise<ReadonlySet<string> | null> {
    if (this.#isClosed) return null;
    if (this.#client === null) {
      const gate = connectionGate();
      const admin = kafkaClient(this.#settings, gate, this.#logger).admin({ retry: { retries: 0 } });
      this.#client = { admin, gate };
      await admin.connect();
    }
    return new Set(await this.#client.admin.listTopics());
  }

  #dropClient(): void {
    this.#client?.gate.cut();
    this.#client = null;
  }
}

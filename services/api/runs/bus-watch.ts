/** Whether the bus can be reached, looked at all the time, so that a request need not ask before it takes a hold. */
import type { Logger } from 'pino';
import type { MessageBus } from '../../../events/bus/message-bus.js';

const LOOK_EVERY_MS = 500;

/** Looks in a row that must fail: one may, on a busy machine or while a group is shared out anew. */
const LOOKS_FAILED_MAX = 2;

export class BusWatch {
  /** As of the last look; up until the first. */
  isUp = true;
  readonly #bus: Pick<MessageBus, 'isReady'>;
  readonly #logger: Logger;
  readonly #timer: NodeJS.Timeout;
  #looksFailed = 0;
  #isLooking = false;

  constructor(bus: Pick<MessageBus, 'isReady'>, logger: Logger) {
    this.#bus = bus;
    this.#logger = logger;
    this.#timer = setInterval(() => void this.#look(), LOOK_EVERY_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    const isReady = await this.#bus.isReady().catch(() => false);
    this.#isLooking = false;
    this.#looksFailed = isReady ? 0 : this.#looksFailed + 1;
    const isUp = this.#looksFailed < LOOKS_FAILED_MAX;
    if (isUp !== this.isUp) this.#logger.warn({ isUp }, isUp ? 'the bus is back' : 'the bus cannot be reached, requests are refused');
    this.isUp = isUp;
  }
}

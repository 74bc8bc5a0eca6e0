/** Waits that can be cut short: by whoever stops what waits, or has news for it. */

export type PauseOptions = {
  /** Whether the pause may keep the process alive; true by default. */
  readonly keepsAlive?: boolean;
};

/** One pause at a time. */
export class Pause {
  #end: () => void = () => undefined;

  /** Resolves after `delayMs`, or with `end()`. */
  wait(delayMs: number, { keepsAlive = true }: PauseOptions = {}): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, delayMs);
      if (!keepsAlive) timer.unref();
      this.#end = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Ends the pause that is on; without one nothing happens. */
  end(): void {
    this.#end();
  }
}

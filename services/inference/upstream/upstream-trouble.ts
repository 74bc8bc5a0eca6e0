/** What one engine says of its upstream's trouble: to the run as an error, to the operator as a line that quotes neither prompts nor keys. */
import type { Logger } from 'pino';
import { EngineError } from '../engine.js';
import { ConnectionBroken, type Refusal } from './http-post.js';
import { type Complaint, complaintForLog, errorOfComplaint } from './upstream-errors.js';
import type { UpstreamTarget } from './upstream-settings.js';
import type { UsageFault } from './usage-count.js';

export class UpstreamTrouble {
  readonly #target: UpstreamTarget;
  readonly #logger: Logger;
  /** Faults that every answer has are worth one line, not one per answer. */
  readonly #faultsLogged = new Set<UsageFault>();

  constructor({ target, logger }: { readonly target: UpstreamTarget; readonly logger: Logger }) {
    this.#target = target;
    this.#logger = logger;
  }

  atCapacity(): EngineError {
    const { name, queuedMax } = this.#target;
    return new EngineError('engine_at_capacity', `${queuedMax} runs are waiting for the upstream ${name}`, true);
  }

  silent(): EngineError {
    return this.#failed('has been silent for too long');
  }

  /** The answer's end never came, or came as its failure. */
  unfinished(what: 'broke off its answer' | 'gave up its answer'): EngineError {
    return this.#failed(what);
  }

  unreadable(reason: string): EngineError {
    return new EngineError('engine_failed', `the upstream ${this.#target.name}: ${reason}`, true);
  }

  /** Not to be tried again: a schema that a model cannot keep to would otherwise count as the upstream's ill health, and leave it out for others. */
  unusable(fault: string): EngineError {
    return new EngineError('engine_failed', `the upstream ${this.#target.name}: ${fault}`, false);
  }

  refused(runId: string, refusal: Refusal): EngineError {
    if (refusal.kind === 'garbled') return refusal.retryable ? this.unreadable(refusal.reason) : this.unusable(refusal.reason);
    this.#logComplaint(runId, refusal.complaint, refusal.error, refusal.status);
    return refusal.error;
  }

  complained(runId: string, complaint: Complaint): EngineError {
    const error = errorOfComplaint(this.#target.name, complaint);
    this.#logComplaint(runId, complaint, error, null);
    return error;
  }

  /** What is no broken connection comes back as it is. */
  broken(error: unknown, runId: string, pieces: number): unknown {
    if (!(error instanceof ConnectionBroken)) return error;
    const { name } = this.#target;
    const { code } = error;
    this.#logger.warn({ upstream: name, runId, cause: code, pieces }, 'connection to the upstream broken');
    return new EngineError('engine_failed', `the connection to the upstream ${name} broke (${code})`, true);
  }

  goesOnBeyondBudget(runId: string, outputTokensBudget: number): void {
    this.#logger.warn({ upstream: this.#target.name, runId, outputTokensBudget }, 'upstream goes on beyond the output budget, answer cut');
  }

  miscounts(runId: string, faults: readonly UsageFault[]): void {
    for (const fault of faults) {
      const level = this.#faultsLogged.has(fault) ? 'debug' : 'warn';
      this.#faultsLogged.add(fault);
      this.#logger[level]({ upstream: this.#target.name, runId, fault }, 'token counts of the upstream not taken over');
    }
  }

  #failed(what: string): EngineError {
    return new EngineError('engine_failed', `the upstream ${this.#target.name} ${what}`, true);
  }

  #logComplaint(runId: string, complaint: Complaint, error: EngineError, status: number | null): void {
    const { name, apiKey } = this.#target;
    const words = complaintForLog(complaint, apiKey);
    // A busy upstream refuses many runs a second, and their failures tell it already.
    const level = error.code === 'engine_at_capacity' ? 'debug' : 'warn';
    this.#logger[level]({ upstream: name, runId, status, ...words }, 'upstream refused a run');
  }
}

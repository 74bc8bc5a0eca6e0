/** Turns finished runs into settlements and tells the waiting API. Replay-safe: a second settlement changes nothing and is only reported again. */
import type { Logger } from 'pino';
import { type BusSubscription, type Message, type MessageBus, UnknownTopicError } from '../../../events/bus/message-bus.js';
import {
  type JsonObject,
  RUN_RESULTS_TOPIC,
  type RunFinished,
  RunFinishedSchema,
  type RunSettled,
  type TokenUsage,
} from '../../../events/contract/index.js';
import type { ClosedReservation } from '../domain/account-state.js';
import type { SettleReservationCommand } from '../domain/commands.js';

export const SETTLING_GROUP = 'ledger-settle-finished-runs';

/** What became of a reservation; `closed` is null when the account knows nothing of it any more. */
export type Settlement = { readonly closed: ClosedReservation | null; readonly availableNanos: bigint; readonly revision: number };

/** Durable when it resolves. */
export type Settle = (command: SettleReservationCommand) => Promise<Settlement>;

export type SettlingOptions = { readonly bus: MessageBus; readonly settle: Settle; readonly logger: Logger };

/** Starts the reactor. A batch whose settlements are not all durable is delivered again. */
export function settleFinishedRuns(options: SettlingOptions): Promise<BusSubscription> {
  return options.bus.subscribe({
    topic: RUN_RESULTS_TOPIC,
    group: SETTLING_GROUP,
    onMessages: (messages) => settleBatch(messages, options),
    onError: (error) => options.logger.warn({ err: error }, 'settling finished runs failed, will be tried again'),
  });
}

async function settleBatch(messages: readonly Message[], { bus, settle, logger }: SettlingOptions): Promise<void> {
  const replies = new Map<string, Message[]>();
  await Promise.all(
    messages.map(async (message) => {
      const parsed = RunFinishedSchema.safeParse(message.value);
      if (!parsed.success) {
        // Redelivery cannot mend it. The hold of whatever run it was about expires.
        logger.error({ type: message.type, key: message.key, issues: parsed.error.issues }, 'run result not readable, passed over');
        return;
      }
      const outcome = await settle(settlementOf(parsed.data));
      const settled = runSettledOf(parsed.data, outcome);
      if (settled === null) return;
      const reply: Message = { key: settled.runId, type: 'RunSettled', headers: {}, value: settled as JsonObject };
      const others = replies.get(parsed.data.replyTopic);
      if (others === undefined) replies.set(parsed.data.replyTopic, [reply]);
      else others.push(reply);
    }),
  );
  for (const [topic, batch] of replies) {
    await announce(bus, topic, batch, logger);
  }
}

/**
 * A caller that is not told takes its run for failed, although it has been charged. So the batch is delivered again until the bus takes the news;
 * settling once more changes nothing. Only a caller that is gone, and its topic with it, need not be told.
 */
async function announce(bus: MessageBus, topic: string, replies: readonly Message[], logger: Logger): Promise<void> {
  try {
    await bus.publish(topic, replies);
  } catch (error) {
    if (!(error instanceof UnknownTopicError)) throw error;
    logger.warn({ err: error, topic, runs: replies.length }, 'settlements not announced');
  }
}

function settlementOf(finished: RunFinished): SettleReservationCommand {
  const { accountId, runId, outcome, finishReason, usage, usageSource, errorCode, attempt, responseHash, systemFingerprint } = finished;
  return {
    type: 'SettleReservation',
    accountId,
    runId,
    outcome,
    finishReason,
    usage,
    ...(usageSource === undefined ? {} : { usageSource }),
    errorCode,
    attempt,
    ...(responseHash === undefined ? {} : { responseHash }),
    ...(systemFingerprint === null ? {} : { systemFingerprint }),
  };
}

function isSameUsage(left: TokenUsage, right: TokenUsage): boolean {
  return (
    left.promptTokens === right.promptTokens &&
    left.cachedTokens === right.cachedTokens &&
    left.completionTokens === right.completionTokens &&
    left.audio?.bytes === right.audio?.bytes &&
    left.audio?.milliseconds === right.audio?.milliseconds
  );
}

/** `null` when the account knows nothing of the run any more: nobody waits for it then. */
function runSettledOf(finished: RunFinished, { closed, availableNanos, revision }: Settlement): RunSettled | null {
  if (closed === null) return null;
  // What is announced is what the books hold, also when another result of this run had been settled before.
  const isThisResult = closed.outcome === finished.outcome && isSameUsage(closed.usage, finished.usage);
  return {
    runId: finished.runId,
    accountId: finished.accountId,
    outcome: closed.outcome,
    finishReason: isThisResult ? finished.finishReason : null,
    errorCode: isThisResult ? finished.errorCode : null,
    attempt: isThisResult ? finished.attempt : 0,
    execution: isThisResult ? finished.execution : '',
    usage: closed.usage,
    systemFingerprint: finished.systemFingerprint,
    outputs: finished.outputs,
    heldNanos: closed.heldNanos.toString(),
    chargedNanos: closed.chargedNanos.toString(),
    refundedNanos: (closed.heldNanos - closed.chargedNanos).toString(),
    availableNanos: availableNanos.toString(),
    revision,
  };
}

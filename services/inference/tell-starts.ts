/** Tells the APIs who has taken their runs, so that they know whose loss it would be. */
import { type Message, type MessageBus, UnknownTopicError } from '../../events/bus/message-bus.js';
import type { Execution } from './run-reports.js';

/** Rejects, so that the batch is delivered again and told again, when the bus does not take it. */
export async function tellStarts(bus: MessageBus, runs: readonly Execution[]): Promise<void> {
  const byTopic = new Map<string, Message[]>();
  for (const { request, execution } of runs) {
    const { runId, attempt, replyTopic } = request;
    const started: Message = { key: runId, type: 'RunStarted', headers: {}, value: { runId, attempt, execution } };
    byTopic.set(replyTopic, [...(byTopic.get(replyTopic) ?? []), started]);
  }
  const publish = async (topic: string, starts: readonly Message[]) => {
    try {
      await bus.publish(topic, starts);
    } catch (error) {
      // An API that is gone waits for nobody.
      if (!(error instanceof UnknownTopicError)) throw error;
    }
  };
  await Promise.all([...byTopic].map(([topic, starts]) => publish(topic, starts)));
}

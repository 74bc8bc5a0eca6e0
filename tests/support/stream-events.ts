/** Reads server-sent events of a finished stream. */

/** The payloads of a stream's events, parsed; `[DONE]` stays as text. */
export function eventsOf(text: string): unknown[] {
  return text
    .split('\n\n')
    .flatMap((event) => event.split('\n').filter((line) => line.startsWith('data: ')))
    .map((line) => line.slice('data: '.length))
    .map((payload) => (payload === '[DONE]' ? payload : JSON.parse(payload)));
}

/** The text that a stream's deltas make up. */
export function textOf(stream: string): string {
  return eventsOf(stream)
    .map((event) => (event as { choices?: { delta?: { content?: string } }[] }).choices?.[0]?.delta?.content ?? '')
    .join('');
}

/** The usage that a stream closed with, where it was asked for. */
export function usageOf(stream: string): unknown {
  return eventsOf(stream).find((event) => typeof event === 'object' && (event as { usage?: unknown }).usage != null);
}

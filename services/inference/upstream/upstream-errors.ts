/**
 * What an upstream's refusals mean for a run. The upstream's own messages are told to nobody: they may quote a prompt,
 * name its account, or show a key.
 *
 * | the upstream says | the run fails as | another attempt |
 * |---|---|---|
 * | 429, 503, 529 | `engine_at_capacity` | may succeed |
 * | 401, 402, 403 (key or account), 404 (model), 3xx (address) | `model_unavailable` | no: an operator has to act |
 * | 400, 413, 422 about the context | `context_length_exceeded` | no |
 * | 408, 425, 5xx | `engine_failed` | may succeed |
 * | any other 4xx | `engine_failed` | no |
 */
import { EngineError } from '../engine.js';

/** What codes and types look like, such as `invalid_api_key`. */
const LOGGABLE_WORD = /^[\w.-]{1,60}$/;

/** What an error body says; as long as the body that was read, and never shown to clients. */
export type Complaint = {
  readonly code: string | null;
  readonly type: string | null;
  readonly message: string | null;
};

const NO_COMPLAINT: Complaint = { code: null, type: null, message: null };

/** Reads `{error: {message, type, code}}`, `{error: "text"}`, `{object: "error", message}` and FastAPI's `{detail}`; anything else is no complaint. */
export function complaintOf(body: unknown): Complaint {
  if (typeof body !== 'object' || body === null) return NO_COMPLAINT;
  const record = body as Record<string, unknown>;
  const inner = record['error'] ?? record;
  if (typeof inner === 'string') return { ...NO_COMPLAINT, message: inner };
  if (typeof inner !== 'object' || inner === null) return NO_COMPLAINT;
  const { code, type, message, detail } = inner as Record<string, unknown>;
  return { code: wordOf(code), type: wordOf(type), message: wordOf(message ?? detail) };
}

/** The failure of a run that was answered with `status` instead of text. */
export function errorOfStatus(upstream: string, status: number, complaint: Complaint): EngineError {
  const says = `the upstream ${upstream} answered ${status}`;
  if (status >= 300 && status < 400) return new EngineError('model_unavailable', `${says}: redirects are not followed`, false);
  switch (status) {
    case 400:
    case 413:
    case 422:
      if (!isAboutContext(complaint)) return new EngineError('engine_failed', says, false);
      return new EngineError('context_length_exceeded', 'The prompt and its answer are longer than the context of the model.', false);
    case 401:
    case 402:
    case 403:
      return new EngineError('model_unavailable', `${says}: its key or account is not in order`, false);
    case 404:
      return new EngineError('model_unavailable', `${says}: it does not serve the model`, false);
    case 408:
    case 425:
      return new EngineError('engine_failed', says, true);
    case 429:
    case 503:
    case 529:
      return new EngineError('engine_at_capacity', says, true);
    default:
      return new EngineError('engine_failed', says, status >= 500);
  }
}

/** The failure of a run whose stream said `error`: by its code where that is a status, else as one that may be tried again. */
export function errorOfComplaint(upstream: string, complaint: Complaint): EngineError {
  const status = Number(complaint.code);
  if (Number.isInteger(status) && status >= 400 && status <= 599) return errorOfStatus(upstream, status, complaint);
  if (isAboutContext(complaint)) return errorOfStatus(upstream, 400, complaint);
  return new EngineError('engine_failed', `the upstream ${upstream} reported an error in its stream`, true);
}

/** A complaint for the log: its names alone. Its message may quote the prompt, the key or the account. */
export function complaintForLog({ code, type }: Complaint, apiKey: string | null): Pick<Complaint, 'code' | 'type'> {
  const loggable = (word: string | null) => (word !== null && LOGGABLE_WORD.test(word) && word !== apiKey ? word : null);
  return { code: loggable(code), type: loggable(type) };
}

/** By OpenAI's code, llama-server's type, and the words of vLLM and others that have neither. */
function isAboutContext({ code, type, message }: Complaint): boolean {
  if (code === 'context_length_exceeded' || type === 'exceed_context_size_error') return true;
  return message !== null && /\bcontext (?:length|size|window)\b/i.test(message);
}

function wordOf(value: unknown): string | null {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : null;
}

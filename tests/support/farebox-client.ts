/** What tests ask of a Farebox, in its own words. */
import { type Answer, type Call, createHttpClient, type HttpClient } from './http-client.js';

export type SignedUp = { readonly projectId: string; readonly key: string; readonly keyId: string };

export type FareboxClient = HttpClient & {
  /** A chat completion of the demo model, or of `body.model`. */
  chat(key: string, body?: Readonly<Record<string, unknown>>, headers?: Call['headers']): Promise<Answer>;
  /** Creates a project; the preset's starter credit comes with it. */
  signUp(name: string, environment?: 'live' | 'test'): Promise<SignedUp>;
  /** Books `amount` for a project or a consumer. */
  grant(target: { readonly project_id: string } | { readonly consumer_id: string }, amount: string): Promise<Answer>;
  balance(key: string): Promise<{ readonly available: string; readonly held: string }>;
  /** The value of a metric without labels, or the sum over its labels. Rejects when there is none. */
  metric(name: string): Promise<number>;
};

export const HELLO = [{ role: 'user', content: 'Hello!' }];

export function createFareboxClient(target: {
  readonly baseUrl: string;
  readonly adminKey: string;
  /** `farebox-tiny` by default. */
  readonly model?: string;
}): FareboxClient {
  const client = createHttpClient(target.baseUrl);
  const model = target.model ?? 'farebox-tiny';
  return {
    ...client,
    chat: (key, body = {}, headers = []) =>
      client.call('/v1/chat/completions', { key, json: { model, messages: HELLO, ...body }, headers }),
    signUp: async (name, environment = 'live') => {
      const answer = await client.call('/v1/projects', { json: { name, environment } });
      if (answer.status !== 201) throw new Error(`no project: ${answer.status} ${answer.text}`);
      return { projectId: answer.body.id, key: answer.body.api_key, keyId: answer.body.key.id };
    },
    grant: (to, amount) => client.call('/v1/admin/grants', { key: target.adminKey, json: { ...to, amount, reason: 'test' } }),
    balance: async (key) => {
      const answer = await client.call('/v1/balance', { key });
      if (answer.status !== 200) throw new Error(`no balance: ${answer.status} ${answer.text}`);
      return answer.body;
    },
    metric: async (name) => {
      const { text } = await client.call('/metrics');
      const values = text.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
      if (values.length === 0) throw new Error(`no metric ${name}`);
      return values.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
    },
  };
}

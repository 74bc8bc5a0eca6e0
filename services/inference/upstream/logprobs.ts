/** The probabilities of generated tokens as upstreams report them: OpenAI's form, and that of its older completions. */
import { z } from 'zod';
import type { TokenLogprob } from '../../../events/contract/index.js';

/** No token of a published vocabulary comes near it. */
const TOKEN_CHARACTERS_MAX = 1_024;

const token = z.string().max(TOKEN_CHARACTERS_MAX);
const logprob = z.number().max(Number.MAX_VALUE);
const bytes = z
  .array(z.number().int().min(0).max(255))
  .max(4 * TOKEN_CHARACTERS_MAX)
  .nullish();
const chance = { token, logprob, bytes };

const ContentSchema = z.object({ content: z.array(z.object({ ...chance, top_logprobs: z.array(z.object(chance)).nullish() })) });

const ListsSchema = z.object({
  tokens: z.array(token),
  token_logprobs: z.array(logprob.nullable()),
  top_logprobs: z.array(z.record(token, logprob).nullable()).nullish(),
});

/** `null` for what is in neither form. At most `topMax` alternatives a token. */
export function readLogprobs(reported: unknown, topMax: number): TokenLogprob[] | null {
  const content = ContentSchema.safeParse(reported);
  if (content.success) {
    return content.data.content.map((said) => ({ ...chanceOf(said), top: (said.top_logprobs ?? []).slice(0, topMax).map(chanceOf) }));
  }
  const lists = ListsSchema.safeParse(reported);
  if (!lists.success) return null;
  const { tokens, token_logprobs, top_logprobs } = lists.data;
  return tokens.map((text, index) => {
    const likeliest = Object.entries(top_logprobs?.[index] ?? {}).sort((one, other) => other[1] - one[1]);
    const top = likeliest.slice(0, topMax).map(([other, value]) => chanceOf({ token: other, logprob: value }));
    return { ...chanceOf({ token: text, logprob: token_logprobs[index] ?? 0 }), top };
  });
}

/** Rounding takes some certain tokens a little above 0. */
function chanceOf(said: { token: string; logprob: number; bytes?: number[] | null | undefined }): TokenLogprob['top'][number] {
  return { token: said.token, logprob: Math.min(0, said.logprob), bytes: said.bytes ?? [...Buffer.from(said.token)] };
}

/** What the engine asks of a model's tokenizer. */

export interface Vocabulary {
  /** `parseControl`: control tokens written out in the text become those tokens; otherwise they are text like any other. */
  tokenize(text: string, parseControl: boolean): Uint32Array;
  /** Text of the tokens as one passage; control tokens have none, incomplete characters come out as U+FFFD. */
  detokenize(tokens: Uint32Array): string;
  /** The token as the vocabulary spells it: bytes as `<0x0A>` or in GPT-2's alphabet of visible characters. */
  spelling(token: number): string;
  isToken(token: number): boolean;
  /** Whether the token ends an answer. */
  isEnd(token: number): boolean;
  /** Prepended to every prompt that does not begin with it; `null` for models that want none. */
  readonly beginToken: number | null;
  /** Begins a text that has no token of its own, for models that want no begin token; `null` where there is none. */
  readonly startToken: number | null;
  /** Spellings of the tokens that structure a conversation, such as `<|im_end|>`. */
  readonly controlSpellings: readonly string[];
  /** Variables that chat templates expect. */
  readonly beginText: string;
  readonly endText: string;
}

/**
 * How a model writes tool calls. Models are trained on a few notations, which their chat templates show; a model whose template knows no tools
 * is taught the first one. Everything between a call's name and its arguments is fixed, so calls can be told from text while they are generated.
 */

export type ToolSyntax = {
  /** Written once before the first call; it and the first `open` tell calls from text. */
  readonly begin: string;
  /** Before a call's name. */
  readonly open: string;
  /** Between name and arguments. */
  readonly middle: string;
  /** After the arguments. */
  readonly close: string;
  /** Between two calls. */
  readonly separator: string;
  /** After the last call. */
  readonly end: string;
  /** Met anywhere in the answer, calls begin here; `null`: the whole answer is either text or calls. */
  readonly marker: string | null;
  readonly callsMax: number;
};

/** A list of calls can be closed after each of them; this ends the list of a model that never does. */
export const CALLS_MAX = 16;

/** Hermes, Qwen and most others with tools. */
export const TAGGED_CALLS: ToolSyntax = {
  begin: '',
  open: '<tool_call>\n{"name": "',
  middle: '", "arguments": ',
  close: '}\n</tool_call>',
  separator: '\n',
  end: '',
  marker: '<tool_call>',
  callsMax: CALLS_MAX,
};

/** Mistral. */
export const LISTED_CALLS: ToolSyntax = {
  begin: '[TOOL_CALLS][',
  open: '{"name": "',
  middle: '", "arguments": ',
  close: '}',
  separator: ', ',
  end: ']',
  marker: '[TOOL_CALLS]',
  callsMax: CALLS_MAX,
};

/** Llama 3.1 and later: the answer is one call and nothing else. */
export const BARE_CALL: ToolSyntax = {
  begin: '',
  open: '{"name": "',
  middle: '", "parameters": ',
  close: '}',
  separator: '',
  end: '',
  marker: null,
  callsMax: 1,
};

/** The notation that a chat template teaches, `null` where it knows no tools or writes calls in a way that is not known here. */
export function syntaxOfTemplate(template: string): ToolSyntax | null {
  if (!/\btools\b/.test(template) || !template.includes('tool_calls')) return null;
  if (template.includes('<tool_call>')) return template.includes('<function=') ? null : TAGGED_CALLS;
  if (template.includes('[TOOL_CALLS]')) return template.includes('[ARGS]') ? null : LISTED_CALLS;
  return /["']parameters["']/.test(template) && template.includes('"name"') ? BARE_CALL : null;
}

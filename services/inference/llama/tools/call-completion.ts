/** The shortest way to finish tool calls that have been begun; see `grammar/json-completion.ts`. */
import { type AnswerShapes, exampleOfShape, type Shape } from '../../../../events/contract/index.js';
import { completionOf } from '../grammar/json-completion.js';
import type { ToolSyntax } from './tool-syntax.js';

export type CallableTool = { readonly name: string; readonly shapes: AnswerShapes; readonly shape: Shape };

/** `text` begins where the calls begin. `null` when it is no beginning of calls. */
export function callsCompletionOf(text: string, syntax: ToolSyntax, tools: readonly CallableTool[]): string | null {
  const { begin, open, middle, close, separator, end } = syntax;
  const headOf = ({ name }: CallableTool) => JSON.stringify(name).slice(1, -1) + middle;
  const tailOf = ({ shapes, shape }: CallableTool) => `${smallest(shapes, shape)}${close}${end}`;
  let at = 0;
  for (let lead = begin + open; ; lead = close + separator + open) {
    const written = text.slice(at);
    if (at > 0 && (close + end).startsWith(written)) return (close + end).slice(written.length);
    if (!written.startsWith(lead) && !lead.startsWith(written)) return null;
    at += lead.length;
    const name = text.slice(at);
    const tool = tools.find((one) => name.startsWith(headOf(one)));
    if (tool === undefined) {
      const likely = tools.filter((one) => headOf(one).startsWith(name)).map((one) => headOf(one).slice(name.length) + tailOf(one));
      if (likely.length === 0) return null;
      return lead.slice(written.length) + likely.reduce((least, rest) => (rest.length < least.length ? rest : least));
    }
    at += headOf(tool).length;
    const length = jsonLength(text, at);
    if (length === null) {
      if (at === text.length) return tailOf(tool);
      const rest = completionOf(tool.shapes, text.slice(at), tool.shape);
      return rest === null ? null : rest + close + end;
    }
    at += length;
  }
}

function smallest(shapes: AnswerShapes, shape: Shape): string {
  return shape.kind === 'map' ? '{}' : JSON.stringify(exampleOfShape(shapes, shapes.root));
}

/** Of the object or list that begins at `at`; `null` when the text ends before it does. */
function jsonLength(text: string, at: number): number | null {
  let depth = 0;
  let inString = false;
  for (let place = at; place < text.length; place += 1) {
    const character = text[place];
    if (inString) {
      if (character === '\\') place += 1;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') {
      depth -= 1;
      if (depth === 0) return place + 1 - at;
    }
  }
  return null;
}

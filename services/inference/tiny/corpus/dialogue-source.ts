/** The training text: an endless, seeded sequence of short conversations made from the templates in this folder. */
import type { Random } from '../random.js';
import { arithmeticRound } from './arithmetic.js';
import { type DialogueGroup, type Fact, readDialogueGroups, readFacts, readSlotLists } from './corpus-files.js';
import { madeUpSlots } from './made-up-text.js';
import { type Bindings, expandTemplate, type SlotSource } from './template.js';

export type Turn = { readonly role: 'system' | 'user' | 'assistant'; readonly content: string };

/** A conversation, or a text without speakers, which is what a plain completion continues. */
export type Sample = { readonly kind: 'conversation'; readonly turns: readonly Turn[] } | { readonly kind: 'text'; readonly text: string };

/** How often each kind of sample is met; the rest are the groups of `dialogues.txt`. */
const FACT_SHARE = 0.3;
const ARITHMETIC_SHARE = 0.06;
const PLAIN_TEXT_SHARE = 0.06;
const SYSTEM_SHARE = 0.25;
/** Users who write without capitals or without the final mark. */
const LOWER_CASE_SHARE = 0.3;
const UNPUNCTUATED_SHARE = 0.3;

const FACT_QUESTIONS = [
  'What {verb} {subject}?',
  'What {verb} {subject}?',
  '(Tell me|Please tell me|Can you tell me) (about|something about|more about) {subject}(.|)',
  '(Explain|Please explain|Can you explain|Describe|Define) {subject}(| to me| to a child| in one sentence| in simple words| briefly)(.|)',
  '(What do you know about|Do you know) {subject}?',
  '{subject}(?|)',
];

const SYSTEM_PROMPTS = [
  'You are a (helpful|friendly|kind|polite|concise|cheerful) (assistant|helper|chatbot)(.|. Answer briefly.|. Be concise.)',
  'You are {name}, a {adjective} (assistant|bus driver|{animal}).',
  '(Answer|Reply) (briefly|in one sentence|in English|politely)(.|)',
  '{noise}',
];

export class DialogueSource {
  readonly #slots: ReadonlyMap<string, SlotSource>;
  readonly #facts: readonly Fact[] = readFacts('facts.txt');
  readonly #weightedGroups: readonly DialogueGroup[];

  constructor() {
    const lists = [...readSlotLists('words.txt'), ...readSlotLists('pairs.txt')];
    const groups = readDialogueGroups('dialogues.txt');
    const known = new Set(lists.flatMap(([, entries]) => entries.flatMap(({ key }) => key.split(' '))));
    const spoken = this.#facts.flatMap((fact) => fact.sentences.join(' ').match(/[a-zA-Z]+/g) ?? []);
    this.#slots = new Map<string, SlotSource>([...lists, ...madeUpSlots([...known, ...new Set(spoken)])]);
    this.#weightedGroups = groups.flatMap((group) => new Array<DialogueGroup>(group.weight).fill(group));
  }

  next(random: Random): Sample {
    const turns = this.#conversation(random);
    if (random.chance(PLAIN_TEXT_SHARE)) return { kind: 'text', text: turns.at(-1)?.content ?? '' };
    if (!random.chance(SYSTEM_SHARE)) return { kind: 'conversation', turns };
    const prompt = expandTemplate(random.pick(SYSTEM_PROMPTS), this.#slots, new Map(), random);
    return { kind: 'conversation', turns: [{ role: 'system', content: prompt }, ...turns] };
  }

  #conversation(random: Random): Turn[] {
    const kind = random.fraction();
    const bindings: Bindings = new Map();
    const round = (question: string, answer: string): Turn[] => [
      { role: 'user', content: asUsersWrite(expandTemplate(question, this.#slots, bindings, random), random) },
      { role: 'assistant', content: expandTemplate(answer, this.#slots, bindings, random) },
    ];
    if (kind < ARITHMETIC_SHARE) return round(...arithmeticRound(random));
    if (kind < ARITHMETIC_SHARE + FACT_SHARE) {
      const fact = random.pick(this.#facts);
      bindings.set('verb', { key: fact.verb, value: fact.verb });
      bindings.set('subject', { key: subjectAsAsked(fact, random), value: fact.subject });
      return round(random.pick(FACT_QUESTIONS), factAnswer(fact, random));
    }
    return random
      .pick(this.#weightedGroups)
      .rounds.flatMap(({ questions, answers }) => round(random.pick(questions), random.pick(answers)));
  }
}

/** Some people leave the article out: "Explain ledger". */
function subjectAsAsked({ subject }: Fact, random: Random): string {
  return random.chance(0.2) ? subject.replace(/^(a|an|the) /, '') : subject;
}

/** The first sentence, then each further one more often than not. */
function factAnswer(fact: Fact, random: Random): string {
  return fact.sentences.filter((_, index) => index === 0 || random.chance(0.7)).join(' ');
}

function asUsersWrite(text: string, random: Random): string {
  const cased = random.chance(LOWER_CASE_SHARE) ? text.toLowerCase() : text;
  return random.chance(UNPUNCTUATED_SHARE) ? cased.replace(/[.?!]$/, '') : cased;
}

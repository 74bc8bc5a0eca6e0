/** Brings sound of any rate to one rate and to 16 bits, with FFmpeg's band-limited resampler, piece by piece. */
import { type Libav, libav, SAMPLE_FORMAT } from './libav.js';

/** Mono, -1 to 1. */
export type MonoAudio = { readonly sampleRate: number; readonly mono: Float32Array };

/** AV_CH_LAYOUT_MONO. */
const MONO = 4;
/** Pieces are gathered up to this before they cross into WebAssembly, which costs more than the work on a packet. */
const GATHERED_SAMPLES_MIN = 48_000;
/** What FFmpeg takes; no recording is made outside. */
const SAMPLE_RATE_MIN = 1_000;
const SAMPLE_RATE_MAX = 768_000;

type Graph = { readonly sampleRate: number; readonly graph: number; readonly source: number; readonly sink: number };

export class Resampler {
  readonly #libav: Libav;
  readonly #frame: number;
  readonly #outputRate: number;
  #graph: Graph | null = null;
  #gathered: Float32Array[] = [];
  #gatheredSamples = 0;
  #position = 0;

  private constructor(module: Libav, frame: number, outputRate: number) {
    this.#libav = module;
    this.#frame = frame;
    this.#outputRate = outputRate;
  }

  static async create(outputRate: number): Promise<Resampler> {
    const module = await libav();
    return new Resampler(module, await module.av_frame_alloc(), outputRate);
  }

  /** What can be said of the sound so far. A change of rate in the middle is a new beginning. */
  async add({ sampleRate, mono }: MonoAudio): Promise<Int16Array> {
    let ended: Int16Array = new Int16Array(0);
    if (this.#graph !== null && this.#graph.sampleRate !== sampleRate) ended = await this.flush();
    this.#graph ??= await this.#graphFor(sampleRate);
    this.#gathered.push(mono);
    this.#gatheredSamples += mono.length;
    if (this.#gatheredSamples < GATHERED_SAMPLES_MIN) return ended;
    return joined([ended, await this.#filter(this.#graph, false)]);
  }

  /** The rest. */
  async flush(): Promise<Int16Array> {
    const graph = this.#graph;
    if (graph === null) return new Int16Array(0);
    const rest = await this.#filter(graph, true);
    this.#graph = null;
    await this.#libav.avfilter_graph_free_js(graph.graph);
    return rest;
  }

  close(): void {
    if (this.#graph !== null) void this.#libav.avfilter_graph_free_js(this.#graph.graph);
    void this.#libav.av_frame_free_js(this.#frame);
  }

  async #graphFor(sampleRate: number): Promise<Graph> {
    if (sampleRate < SAMPLE_RATE_MIN || sampleRate > SAMPLE_RATE_MAX) throw new Error(`a sample rate of ${sampleRate}`);
    const output = { sample_rate: this.#outputRate, sample_fmt: SAMPLE_FORMAT.s16, channel_layout: MONO };
    const input = { sample_rate: sampleRate, sample_fmt: SAMPLE_FORMAT.float, channel_layout: MONO };
    const [graph, source, sink] = await this.#libav.ff_init_filter_graph(`aresample=${this.#outputRate}`, input, output);
    return { sampleRate, graph, source, sink };
  }

  async #filter({ sampleRate, source, sink }: Graph, fin: boolean): Promise<Int16Array> {
    const samples = new Float32Array(this.#gatheredSamples);
    let at = 0;
    for (const piece of this.#gathered) {
      samples.set(piece, at);
      at += piece.length;
    }
    this.#gathered = [];
    this.#gatheredSamples = 0;
    const frame = {
      data: samples,
      format: SAMPLE_FORMAT.float,
      sample_rate: sampleRate,
      channels: 1,
      channel_layout: MONO,
      nb_samples: samples.length,
      pts: this.#position,
      ptshi: 0,
    };
    this.#position += samples.length;
    const frames = await this.#libav.ff_filter_multi(source, sink, this.#frame, samples.length === 0 ? [] : [frame], fin);
    return joined(frames.map(({ data }) => data as Int16Array));
  }
}

function joined(pieces: readonly Int16Array[]): Int16Array {
  const whole = new Int16Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

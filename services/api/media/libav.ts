/** FFmpeg's codecs and filters as a WebAssembly module: the part of libav.js that is used here, with its types. */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';

/** AVSampleFormat of libavutil. */
export const SAMPLE_FORMAT = { s16: 1, float: 3, s16Planar: 6, floatPlanar: 8 } as const;

export type LibavFrame = {
  readonly data: Float32Array | Int16Array | readonly (Float32Array | Int16Array)[];
  readonly format: number;
  readonly sample_rate: number;
  readonly channels: number;
  readonly nb_samples: number;
  readonly channel_layout?: number;
  readonly pts?: number;
  readonly ptshi?: number;
};

export type Libav = {
  ff_init_decoder(name: string, codecParameters: number): Promise<[number, number, number, number]>;
  ff_decode_multi(
    context: number,
    packet: number,
    frame: number,
    packets: readonly { readonly data: Uint8Array }[],
    options: { readonly fin: boolean; readonly ignoreErrors: boolean },
  ): Promise<LibavFrame[]>;
  ff_free_decoder(context: number, packet: number, frame: number): Promise<void>;
  ff_init_filter_graph(
    graph: string,
    input: { readonly sample_rate: number; readonly sample_fmt: number; readonly channel_layout: number },
    output: { readonly sample_rate: number; readonly sample_fmt: number; readonly channel_layout: number },
  ): Promise<[number, number, number]>;
  ff_filter_multi(source: number, sink: number, frame: number, frames: readonly LibavFrame[], fin: boolean): Promise<LibavFrame[]>;
  avfilter_graph_free_js(graph: number): Promise<void>;
  avcodec_parameters_alloc(): Promise<number>;
  avcodec_parameters_free_js(parameters: number): Promise<void>;
  AVCodecParameters_codec_type_s(parameters: number, type: number): Promise<void>;
  AVCodecParameters_codec_id_s(parameters: number, id: number): Promise<void>;
  AVCodecParameters_sample_rate_s(parameters: number, sampleRate: number): Promise<void>;
  AVCodecParameters_channels_s(parameters: number, channels: number): Promise<void>;
  AVCodecParameters_extradata_s(parameters: number, pointer: number): Promise<void>;
  AVCodecParameters_extradata_size_s(parameters: number, size: number): Promise<void>;
  av_frame_alloc(): Promise<number>;
  av_frame_free_js(frame: number): Promise<void>;
  av_log_set_level(level: number): Promise<void>;
  malloc(bytes: number): Promise<number>;
  copyin_u8(pointer: number, bytes: Uint8Array): Promise<void>;
};

const PACKAGE = '@libav.js/variant-mediarecorder-transcoder';

let loaded: Promise<Libav> | null = null;

/** One instance in this thread. */
export function libav(): Promise<Libav> {
  loaded ??= load();
  return loaded;
}

/** AV_LOG_QUIET: it would write to standard error what somebody's file made it think of. */
const QUIET = -8;

async function load(): Promise<Libav> {
  const require = createRequire(import.meta.url);
  const path = require.resolve(PACKAGE);
  const { LibAV } = require(path) as { LibAV: (options: object) => Promise<Libav> };
  // Without a worker of its own: this is one already.
  const module = await LibAV({ noworker: true, base: dirname(path) });
  await module.av_log_set_level(QUIET);
  return module;
}

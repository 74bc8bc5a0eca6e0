/** One FFmpeg decoder in WebAssembly, fed packet by packet. What a packet breaks is passed over, as players do. */
import { type Libav, type LibavFrame, libav, SAMPLE_FORMAT } from './libav.js';
import type { MonoAudio } from './resampler.js';

/** AVCodecID of libavcodec. */
const CODEC_ID = { aac: 86_018, libopus: 86_076 } as const;
/** AVMEDIA_TYPE_AUDIO. */
const AUDIO = 1;
/** AV_INPUT_BUFFER_PADDING_SIZE: decoders read a little beyond what they are given. */
const PADDING_BYTES = 64;
/** A codec's setup is some bytes; Opus with 255 streams has 274. */
const EXTRA_BYTES_MAX = 4_096;
/** Full scale of 16 bits. */
const FULL_SCALE = 32_768;

export class LibavCodec {
  readonly #libav: Libav;
  readonly #context: number;
  readonly #packet: number;
  readonly #frame: number;

  private constructor(module: Libav, [, context, packet, frame]: [number, number, number, number]) {
    this.#libav = module;
    this.#context = context;
    this.#packet = packet;
    this.#frame = frame;
  }

  /** Rejects for a setup that the decoder does not take. */
  static async open(codec: keyof typeof CODEC_ID, sampleRate: number, channels: number, extra: Uint8Array | null): Promise<LibavCodec> {
    if (extra !== null && extra.length > EXTRA_BYTES_MAX) throw new Error('the setup of the codec is too long');
    const module = await libav();
    const parameters = await module.avcodec_parameters_alloc();
    try {
      await module.AVCodecParameters_codec_type_s(parameters, AUDIO);
      await module.AVCodecParameters_codec_id_s(parameters, CODEC_ID[codec]);
      await module.AVCodecParameters_sample_rate_s(parameters, sampleRate);
      await module.AVCodecParameters_channels_s(parameters, channels);
      if (extra !== null) {
        const padded = new Uint8Array(extra.length + PADDING_BYTES);
        padded.set(extra);
        const pointer = await module.malloc(padded.length);
        await module.copyin_u8(pointer, padded);
        await module.AVCodecParameters_extradata_s(parameters, pointer);
        await module.AVCodecParameters_extradata_size_s(parameters, extra.length);
      }
      return new LibavCodec(module, await module.ff_init_decoder(codec, parameters));
    } finally {
      await module.avcodec_parameters_free_js(parameters);
    }
  }

  /** An empty packet says nothing; FFmpeg would take it for the end. */
  decode(packet: Uint8Array): Promise<MonoAudio | null> {
    if (packet.length === 0) return Promise.resolve(null);
    return this.#decode([{ data: packet }], false);
  }

  flush(): Promise<MonoAudio | null> {
    return this.#decode([], true);
  }

  close(): void {
    void this.#libav.ff_free_decoder(this.#context, this.#packet, this.#frame);
  }

  async #decode(packets: readonly { readonly data: Uint8Array }[], fin: boolean): Promise<MonoAudio | null> {
    const frames = await this.#libav.ff_decode_multi(this.#context, this.#packet, this.#frame, packets, { fin, ignoreErrors: true });
    const [first] = frames;
    if (first === undefined) return null;
    const mono = new Float32Array(frames.reduce((sum, { nb_samples }) => sum + nb_samples, 0));
    let at = 0;
    for (const frame of frames) {
      mixDown(frame, mono.subarray(at, at + frame.nb_samples));
      at += frame.nb_samples;
    }
    return { sampleRate: first.sample_rate, mono };
  }
}

/** The mean of all channels. */
function mixDown({ data, format, channels, nb_samples: count }: LibavFrame, mono: Float32Array): void {
  const isPlanar = format === SAMPLE_FORMAT.floatPlanar || format === SAMPLE_FORMAT.s16Planar;
  const isInteger = format === SAMPLE_FORMAT.s16 || format === SAMPLE_FORMAT.s16Planar;
  if (!isPlanar && format !== SAMPLE_FORMAT.float && format !== SAMPLE_FORMAT.s16) throw new Error(`sample format ${format}`);
  const gain = 1 / channels / (isInteger ? FULL_SCALE : 1);
  const planes = data as readonly Float32Array[];
  const interleaved = data as Float32Array;
  for (let at = 0; at < count; at += 1) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel += 1) {
      sum += (isPlanar ? planes[channel]?.[at] : interleaved[at * channels + channel]) ?? 0;
    }
    mono[at] = sum * gain;
  }
}

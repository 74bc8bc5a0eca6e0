/**
 * Decodes an audio file to what speech engines hear: 16 kHz, mono, 16 bits. Runs in the thread of `decoder-thread.ts`. mediabunny takes the
 * file apart packet by packet, codecs in WebAssembly decode each packet, so that what comes out is measured while it comes and a long recording
 * is left at the bound instead of being held whole.
 */
import { AudioSampleSink, BufferSource, EncodedPacketSink, Input, type InputAudioTrack, MP3, MP4, WAVE, WEBM } from 'mediabunny';
import { MPEGDecoder } from 'mpg123-decoder';
import { SPEECH_SAMPLES_PER_SECOND } from '../../../events/contract/index.js';
import { AUDIO_SECONDS_MAX, type DecodeResult } from './audio-format.js';
import { LibavCodec } from './libav-codec.js';
import { type MonoAudio, Resampler } from './resampler.js';

type Refusal = Extract<DecodeResult, { status: 'refused' }>;

/** Sound of one packet, at the rate of its stream; `null`: none came of it yet. */
type PacketDecoder = { decode(packet: Uint8Array): Promise<MonoAudio | null>; flush(): Promise<MonoAudio | null>; close(): void };

/** Never rejects for what is in the file. */
export async function decodeAudio(file: Uint8Array, secondsMax: number = AUDIO_SECONDS_MAX): Promise<DecodeResult> {
  const input = new Input({ source: new BufferSource(file), formats: [MP3, WAVE, MP4, WEBM] });
  try {
    const track = await input.getPrimaryAudioTrack();
    if (track === null) return refused('no_audio', 'The file holds no audio.');
    const sound = await soundOf(track);
    if ('status' in sound) return sound;
    return await gather(sound, secondsMax);
  } catch (error) {
    return refused('damaged', `The file could not be decoded: ${error instanceof Error ? error.message : String(error)}`.slice(0, 200));
  } finally {
    input.dispose();
  }
}

async function gather(sound: AsyncIterable<MonoAudio>, secondsMax: number): Promise<DecodeResult> {
  const resampler = await Resampler.create(SPEECH_SAMPLES_PER_SECOND);
  const pieces: Int16Array[] = [];
  let count = 0;
  const keep = (piece: Int16Array): boolean => {
    pieces.push(piece);
    count += piece.length;
    return count <= secondsMax * SPEECH_SAMPLES_PER_SECOND;
  };
  const tooLong = refused('too_long', `The recording is longer than ${secondsMax / 60} minutes.`);
  try {
    for await (const piece of sound) if (!keep(await resampler.add(piece))) return tooLong;
    if (!keep(await resampler.flush())) return tooLong;
  } finally {
    resampler.close();
  }
  if (count === 0) return refused('no_audio', 'The recording is empty.');
  const samples = new Int16Array(count);
  let at = 0;
  for (const piece of pieces) {
    samples.set(piece, at);
    at += piece.length;
  }
  return { status: 'decoded', samples };
}

async function soundOf(track: InputAudioTrack): Promise<AsyncIterable<MonoAudio> | Refusal> {
  const codec = track.codec;
  if (codec?.startsWith('pcm-') || codec === 'ulaw' || codec === 'alaw') return soundOfPcm(track);
  const description = (await track.getDecoderConfig())?.description;
  const extra = description === undefined ? null : bytesOf(description);
  switch (codec) {
    case 'mp3':
      return soundOfPackets(track, await mp3Decoder());
    case 'aac':
      return soundOfPackets(track, await LibavCodec.open('aac', track.sampleRate, track.numberOfChannels, extra));
    case 'opus':
      return soundOfPackets(track, await LibavCodec.open('libopus', track.sampleRate, track.numberOfChannels, extra));
    default:
      return refused('unsupported_codec', `The file's audio is ${codec ?? 'of an unknown kind'}; supported are MP3, PCM, AAC and Opus.`);
  }
}

async function* soundOfPcm(track: InputAudioTrack): AsyncGenerator<MonoAudio> {
  for await (const sample of new AudioSampleSink(track).samples()) {
    const mono = new Float32Array(sample.numberOfFrames);
    const channel = new Float32Array(sample.numberOfFrames);
    for (let index = 0; index < sample.numberOfChannels; index += 1) {
      sample.copyTo(channel, { format: 'f32-planar', planeIndex: index });
      for (let at = 0; at < mono.length; at += 1) mono[at] = (mono[at] as number) + (channel[at] as number) / sample.numberOfChannels;
    }
    yield { sampleRate: sample.sampleRate, mono };
    sample.close();
  }
}

async function* soundOfPackets(track: InputAudioTrack, decoder: PacketDecoder): AsyncGenerator<MonoAudio> {
  // What lies before time zero is what the encoder needed to start (ISO/IEC 14496-12, edit lists); it was never said.
  let secondsBefore: number | null = null;
  const heard = (audio: MonoAudio | null): MonoAudio | null => {
    if (audio === null) return null;
    const skip = Math.min(audio.mono.length, Math.round((secondsBefore ?? 0) * audio.sampleRate));
    secondsBefore = (secondsBefore ?? 0) - skip / audio.sampleRate;
    return { sampleRate: audio.sampleRate, mono: audio.mono.subarray(skip) };
  };
  try {
    for await (const packet of new EncodedPacketSink(track).packets()) {
      secondsBefore ??= Math.max(0, -packet.timestamp);
      const audio = heard(await decoder.decode(packet.data));
      if (audio !== null) yield audio;
    }
    const rest = heard(await decoder.flush());
    if (rest !== null) yield rest;
  } finally {
    decoder.close();
  }
}

async function mp3Decoder(): Promise<PacketDecoder> {
  const decoder = new MPEGDecoder();
  await decoder.ready;
  return {
    async decode(packet) {
      const { channelData, sampleRate, samplesDecoded } = decoder.decodeFrame(packet);
      if (samplesDecoded === 0) return null;
      const mono = new Float32Array(samplesDecoded);
      for (const channel of channelData) {
        for (let at = 0; at < mono.length; at += 1) mono[at] = (mono[at] as number) + (channel[at] as number) / channelData.length;
      }
      return { sampleRate, mono };
    },
    flush: () => Promise.resolve(null),
    close: () => decoder.free(),
  };
}

function bytesOf(source: ArrayBufferView | ArrayBufferLike): Uint8Array {
  return ArrayBuffer.isView(source) ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength) : new Uint8Array(source);
}

function refused(reason: Refusal['reason'], message: string): Refusal {
  return { status: 'refused', reason, message };
}

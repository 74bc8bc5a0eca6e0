/** What decoding makes of a recording. Apart from the decoder, whose codecs only its own thread loads. */

/** Half an hour: 58 MB of samples, and minutes of an engine's time. */
export const AUDIO_SECONDS_MAX = 1_800;

export type DecodeResult =
  | { readonly status: 'decoded'; readonly samples: Int16Array<ArrayBuffer> }
  | { readonly status: 'refused'; readonly reason: 'damaged' | 'no_audio' | 'unsupported_codec' | 'too_long'; readonly message: string };

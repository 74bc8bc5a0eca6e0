/** Which kind of audio file some bytes are, by what they begin with. What a client calls the file, or says its type is, counts for nothing. */

export const AUDIO_KINDS = ['mp3', 'wav', 'm4a', 'webm'] as const;
export type AudioKind = (typeof AUDIO_KINDS)[number];

const EBML = 0x1a45dfa3;
/** Sync word of an MPEG audio frame: eleven set bits. */
const MPEG_SYNC = 0xffe0;
const HEADER_BYTES = 12;

/** `null`: none that is supported. Whether the rest of the file is what its beginning says shows when it is decoded. */
export function audioKindOf(file: Uint8Array): AudioKind | null {
  if (file.length < HEADER_BYTES) return null;
  const text = (from: number, to: number) => Buffer.from(file.subarray(from, to)).toString('latin1');
  if (text(0, 4) === 'RIFF' && text(8, 12) === 'WAVE') return 'wav';
  if (text(4, 8) === 'ftyp') return 'm4a';
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint32(0) === EBML) return 'webm';
  if (text(0, 3) === 'ID3' || isMpegFrame(view.getUint32(0))) return 'mp3';
  return null;
}

/** ISO/IEC 11172-3, 2.4.1.3: sync, a version, layer III, and neither a bit rate nor a sample rate that is reserved. */
function isMpegFrame(header: number): boolean {
  const version = (header >>> 19) & 3;
  const layer = (header >>> 17) & 3;
  const bitRate = (header >>> 12) & 15;
  const sampleRate = (header >>> 10) & 3;
  return header >>> 16 >= MPEG_SYNC && version !== 1 && layer === 1 && bitRate !== 0 && bitRate !== 15 && sampleRate !== 3;
}

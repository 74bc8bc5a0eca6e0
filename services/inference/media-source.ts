/** Where a worker gets the decoded audio of a transcription from; the message that asks for one only names it. */

/**
 * The samples, 16 kHz mono, 16-bit little-endian. Rejects when there are none to be had (any more); the attempt then fails as one that may be
 * tried again. Bounds its own time and size.
 */
export type MediaSource = (media: { readonly mediaId: string; readonly mediaUrl?: string }) => Promise<Buffer>;

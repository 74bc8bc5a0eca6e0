/** What the projector throws when an event contradicts the books: a bug somewhere, and going on would spread it over the views. */
export class BrokenBooksError extends Error {
  override readonly name = 'BrokenBooksError';
}

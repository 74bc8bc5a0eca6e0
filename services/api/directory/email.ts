/** When two e-mail addresses are the same consumer. What counts as an address at all is decided where the header is read. */

/** The form by which a consumer is found: Unicode NFC, lower case. Case in the local part means something to no mail host in use. */
export function normalisedEmail(email: string): string {
  return email.normalize('NFC').toLowerCase();
}

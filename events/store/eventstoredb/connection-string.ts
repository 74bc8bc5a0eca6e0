/** The connection string of the EventStoreDB client, with the secrets and files that are better given apart from it. */

export type EventStoreDbConnection = {
  /**
   * `esdb://host:2113?tls=false` for one node, `esdb://a:2113,b:2113,c:2113` or `esdb+discover://name:2113` for a cluster. TLS is on unless
   * it is turned off. All settings of the client are understood except `throwOnAppendFailure`, which must keep its default.
   */
  readonly connectionString: string;
  /** Instead of `user:password@` in the connection string. */
  readonly user?: { readonly name: string; readonly password: string };
  /** PEM file of the authority that signed the servers' certificates. */
  readonly tlsCaFile?: string;
  /** PEM files of a user certificate and its key. */
  readonly userCertificate?: { readonly certFile: string; readonly keyFile: string };
};

const PROTOCOL = /^esdb(\+discover)?:\/\//;

/** The one string the client takes. Throws `RangeError` for a setting that would be ignored or break the store's promises. */
export function connectionStringOf(connection: EventStoreDbConnection): string {
  const { user, tlsCaFile, userCertificate } = connection;
  const text = connection.connectionString.trim();
  const protocol = PROTOCOL.exec(text)?.[0];
  if (protocol === undefined) throw new RangeError('an EventStoreDB connection string starts with esdb:// or esdb+discover://');
  const rest = text.slice(protocol.length);
  const [place = '', query = ''] = splitOnce(rest, '?');
  const settings = query === '' ? [] : query.split('&');
  if (settings.some((setting) => /^throw[_-]?on[_-]?append[_-]?failure=/i.test(setting))) {
    throw new RangeError('throwOnAppendFailure must keep its default: the store tells a conflict by the error');
  }
  const hasTls = !settings.some((setting) => /^tls=false$/i.test(setting));
  if (!hasTls && (user !== undefined || tlsCaFile !== undefined || userCertificate !== undefined)) {
    throw new RangeError('the EventStoreDB client sends no user and no certificate without TLS');
  }
  if (user !== undefined && place.includes('@')) throw new RangeError('the EventStoreDB user is given twice');
  if (tlsCaFile !== undefined) settings.push(`tlsCAFile=${encodeURIComponent(tlsCaFile)}`);
  if (userCertificate !== undefined) {
    settings.push(`userCertFile=${encodeURIComponent(userCertificate.certFile)}`);
    settings.push(`userKeyFile=${encodeURIComponent(userCertificate.keyFile)}`);
  }
  const credentials = user === undefined ? '' : `${encodeURIComponent(user.name)}:${encodeURIComponent(user.password)}@`;
  return `${protocol}${credentials}${place}${settings.length === 0 ? '' : `?${settings.join('&')}`}`;
}

function splitOnce(text: string, separator: string): readonly [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)];
}

/** Who may talk to the double: everyone, or one user by name and password, as a secured server has it. */
import { Metadata, status, type UntypedHandleCall, type UntypedServiceImplementation } from '@grpc/grpc-js';

type AnyCall = { readonly metadata: Metadata; emit(event: 'error', error: object): boolean };
type AnyAnswer = ((error: object) => void) | undefined;

/** `user` is `name:password`; `null` lets everyone in. */
export function forUser(user: string | null, methods: UntypedServiceImplementation): UntypedServiceImplementation {
  if (user === null) return methods;
  const wanted = `Basic ${Buffer.from(user).toString('base64')}`;
  const guarded = Object.entries(methods).map(([name, handler]) => {
    const guard = (call: AnyCall, answer: AnyAnswer) => {
      if (call.metadata.get('authorization').includes(wanted)) {
        (handler as (call: AnyCall, answer: AnyAnswer) => void)(call, answer);
        return;
      }
      const refusal = { code: status.UNAUTHENTICATED, details: 'no such user', metadata: new Metadata() };
      if (answer === undefined) call.emit('error', refusal);
      else answer(refusal);
    };
    return [name, guard as unknown as UntypedHandleCall];
  });
  return Object.fromEntries(guarded) as UntypedServiceImplementation;
}

/** `farebox models list` and `farebox models pull <id>`. */
export async function listModels(_environment: NodeJS.ProcessEnv): Promise<number> {
  return 0;
}
export async function pullModel(_environment: NodeJS.ProcessEnv, _id: string): Promise<number> {
  return 0;
}

/** The container's health check: does this process answer? Node asks, because the image has no curl. Exit code 0 says yes. */

/** Shorter than the time-out that Docker allows the whole check. */
const ANSWER_MS_MAX = 3_000;

const url = `http://127.0.0.1:${process.env.PORT ?? '8080'}/healthz`;
try {
  const response = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
  process.exitCode = response.ok ? 0 : 1;
} catch {
  process.exitCode = 1;
}

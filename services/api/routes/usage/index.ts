/** Usage of the caller's project: totals and days that add up, in any time zone. */
import { formatAmount } from '../../../../events/contract/index.js';
import type { Clock } from '../../../../platform/clock.js';
import type { Preset } from '../../../../presets/preset-schema.js';
import { creditsField, isoTime } from '../../presentation/amounts.js';
import type { LastRevisions } from '../../read-model/last-revisions.js';
import { type ReadModel, type ReportBoundary, USAGE_DAYS_MAX, type UsageReport, type UsageSums } from '../../read-model/read-model.js';
import { catchUpWithProject } from '../../read-model/read-your-writes.js';
import { canonicalTimeZone } from '../../read-model/time-zone.js';
import { refuse } from '../../refusals.js';
import { defineRoute, type RouteDefinition } from '../../route.js';
import { reportBoundary } from './report-boundary.js';
import { UsageQueryParameters, UsageReportObject } from './schemas.js';

export type UsageDeps = {
  readonly readModel: Pick<ReadModel, 'usage' | 'waitForRevisions'>;
  readonly lastRevisions: LastRevisions;
  readonly preset: Pick<Preset, 'unit'>;
  readonly clock: Clock;
};

export function usageRoutes(deps: UsageDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/usage',
      operationId: 'getUsage',
      summary: 'Usage totals and the days they consist of',
      tag: 'Usage',
      policy: 'project_key',
      query: UsageQueryParameters,
      responses: { 200: { description: 'The report', schema: UsageReportObject } },
      handle: async ({ caller }, { query }) => {
        const timezone = canonicalTimeZone(query.timezone);
        if (timezone === null) {
          const message = 'timezone must be an IANA name such as Europe/Paris or UTC.';
          throw refuse('invalid_parameter', { message, param: 'timezone' });
        }
        const range = { from: parsedBoundary(query.from, 'from'), to: parsedBoundary(query.to, 'to') };
        const headers = await catchUpWithProject(deps, caller.projectId);
        const result = await deps.readModel.usage({
          projectId: caller.projectId,
          unit: deps.preset.unit,
          ...range,
          timezone,
          nowMs: deps.clock.nowMs(),
          groupBy: query.group_by ?? null,
        });
        if (result.status === 'refused') throw rangeRefusal(result.reason);
        return { status: 200, headers, body: reportBody(result.report, timezone, deps.preset.unit, query.group_by ?? null) };
      },
    }),
  ];
}

function parsedBoundary(text: string | undefined, end: 'from' | 'to'): ReportBoundary | null {
  if (text === undefined) return null;
  const boundary = reportBoundary(text, end);
  if (boundary !== null) return boundary;
  const message = `${end} must be an ISO 8601 date or time, such as 2026-04-01 or 2026-04-01T12:00:00Z.`;
  throw refuse('invalid_parameter', { message, param: end });
}

function rangeRefusal(reason: 'range_empty' | 'range_too_long') {
  switch (reason) {
    case 'range_empty':
      return refuse('invalid_parameter', { message: 'from must be before to.', param: 'from' });
    case 'range_too_long':
      return refuse('invalid_parameter', { message: `A report spans at most ${USAGE_DAYS_MAX} days.`, param: 'from' });
  }
}

function reportBody(report: UsageReport, timezone: string, unit: string, groupBy: 'model' | 'consumer' | null) {
  const groups = report.groups?.map(({ key, ...sums }) => ({ ...groupName(key, groupBy), ...sumsBody(sums, unit) }));
  return {
    object: 'usage' as const,
    from: isoTime(report.fromMs),
    to: isoTime(report.toMs),
    timezone,
    unit,
    totals: sumsBody(report.totals, unit),
    days: report.days.map(({ date, ...sums }) => ({ date, ...sumsBody(sums, unit) })),
    ...(groups === undefined ? {} : { groups, groups_truncated: report.areGroupsTruncated }),
  };
}

function groupName(key: string, groupBy: 'model' | 'consumer' | null) {
  return groupBy === 'consumer' ? { consumer_id: key === '' ? null : key } : { model: key };
}

function sumsBody(sums: UsageSums, unit: string) {
  return {
    requests: sums.requests,
    completed: sums.completed,
    cancelled: sums.cancelled,
    failed: sums.failed,
    expired: sums.expired,
    prompt_tokens: sums.promptTokens,
    cached_tokens: sums.cachedTokens,
    completion_tokens: sums.completionTokens,
    total_tokens: sums.promptTokens + sums.completionTokens,
    charged: formatAmount(sums.chargedNanos),
    ...creditsField('credits_used', sums.chargedNanos, unit),
  };
}

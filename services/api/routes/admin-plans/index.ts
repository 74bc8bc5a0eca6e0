/** Lets an operator put a project on one of the offer's plans. Its keys have the plan's limits within a second. */
import { z } from 'zod';
import type { Preset } from '../../../../presets/preset-schema.js';
import type { Directory } from '../../directory/directory.js';
import { isId } from '../../presentation/fields.js';
import { refuse } from '../../refusals.js';
import { defineRoute, type RouteDefinition } from '../../route.js';

export type AdminPlansDeps = {
  readonly directory: Pick<Directory, 'setPlan'>;
  readonly preset: Pick<Preset, 'plans'>;
};

/** As long as a preset lets the name of a plan be, and some more, so that a typing error is named as one. */
const PLAN_CHARACTERS_MAX = 100;

const PlanRequest = z.object({
  plan: z.string().max(PLAN_CHARACTERS_MAX).nullable().describe('One of the plans of the offer; null: the limits of everybody'),
});

const PlanObject = z.object({ object: z.literal('project_plan'), project_id: z.string(), plan: z.string().nullable() });

export function adminPlansRoutes(deps: AdminPlansDeps): RouteDefinition[] {
  const plans = Object.keys(deps.preset.plans);
  return [
    defineRoute({
      method: 'post',
      path: '/v1/admin/projects/:id/plan',
      operationId: 'setProjectPlan',
      summary: 'Put a project on a plan, which decides its limits',
      tag: 'Admin',
      policy: 'admin',
      params: z.object({ id: z.string() }),
      body: PlanRequest,
      responses: {
        200: { description: 'The plan holds from now on', schema: PlanObject },
        404: { description: 'No such project' },
      },
      handle: async (_context, { params, body }) => {
        if (body.plan !== null && !plans.includes(body.plan)) {
          const known = plans.length === 0 ? 'This offer has no plans.' : `The plans are ${plans.join(', ')}.`;
          throw refuse('invalid_parameter', { message: `There is no such plan. ${known}`, param: 'plan' });
        }
        const project = isId(params.id, 'prj_') ? await deps.directory.setPlan(params.id, body.plan) : null;
        if (project === null) throw refuse('resource_not_found', { message: 'There is no such project.', param: 'id' });
        return { status: 200, body: { object: 'project_plan', project_id: project.projectId, plan: project.plan ?? null } };
      },
    }),
  ];
}

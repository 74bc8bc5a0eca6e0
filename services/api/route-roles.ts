/**
 * Which roles of keys may call which route, on one page. A route that is not here is for owners only, and a test says that it is missing: whoever
 * adds a route decides here.
 */
import { KEY_ROLES, type KeyRole } from './directory/directory.js';
import { refuse } from './refusals.js';

type RolePolicy = Readonly<Record<KeyRole, boolean>>;

/** Keys, and whatever else decides who may do what. */
const OWNER: RolePolicy = { owner: true, developer: false, finance: false };
/** What runs something, which costs. */
const RUNS: RolePolicy = { owner: true, developer: true, finance: false };
/** What moves or asks for money. */
const MONEY: RolePolicy = { owner: true, developer: false, finance: true };
/** What is only looked at. */
const READS: RolePolicy = { owner: true, developer: true, finance: true };

/** By operation, for every route with the policy `project_key`. */
export const ROUTE_ROLES: Readonly<Record<string, RolePolicy>> = {
  createChatCompletion: RUNS,
  createCompletion: RUNS,
  createEmbeddings: RUNS,
  createTranscription: RUNS,

  listModels: READS,
  getModel: READS,
  getModelInfo: READS,

  createKey: OWNER,
  listKeys: OWNER,
  rotateKey: OWNER,
  deleteKey: OWNER,
  revokeKey: OWNER,

  createBillingCheckout: MONEY,
  createConsumerCheckout: MONEY,
  listPayments: MONEY,
  getPayment: MONEY,

  getBalance: READS,
  getUsage: READS,
  getRequest: READS,
  explainRequest: READS,
  verifyRequest: READS,
  listConsumers: READS,
  getConsumer: READS,
};

/** Throws `role_not_allowed`. */
export function checkRole(operationId: string, role: KeyRole): void {
  if ((ROUTE_ROLES[operationId] ?? OWNER)[role]) return;
  const allowed = rolesOf(operationId);
  const message = `This API key has the role ${role}; this operation takes a key with the role ${allowed.join(' or ')}.`;
  throw refuse('role_not_allowed', { message });
}

export function rolesOf(operationId: string): KeyRole[] {
  const policy = ROUTE_ROLES[operationId] ?? OWNER;
  return KEY_ROLES.filter((role) => policy[role]);
}

import { type Row, stoppedBy } from "./row.ts";

/** Who calls: the administrator, a viewer, an operator and an administrator of plant-a only, a device; or a text that is no token. */
export type Caller = "admin" | "viewer" | "operatorOfA" | "adminOfA" | "device" | "nobody" | { readonly token: string };

export interface Call {
  /** Method and path; {mine} is a device of plant-a, {other} one of plant-b. */
  readonly target: string;
  readonly by?: Caller;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A call that is answered with 2xx, and the one that differs in one thing. */
export interface CallRow extends Row {
  readonly honest: Call;
  readonly bent: Call;
}

const LIST: Call = { target: "GET /v1/devices" };
const COHORT: Call = { target: "PUT /v1/cohorts/attacked", body: { selector: "line=3" } };
const TOKEN: Call = { target: "POST /v1/enrolment-tokens", body: { site: "plant-a" } };
const ADMIN: Call = { target: "POST /v1/tokens", body: { name: "another", roles: ["admin"] } };
const keyed = (call: Call, key: string): Call => ({ ...call, headers: { "idempotency-key": key } });

export const CALLS: readonly CallRow[] = [
  ...stoppedBy<CallRow>("tokens are kept as hashes and compared whole; every failure answers alike", [
    { attack: "no token", code: "UNAUTHENTICATED", honest: LIST, bent: { ...LIST, by: "nobody" } },
    {
      attack: "a token that nobody made",
      code: "UNAUTHENTICATED",
      honest: LIST,
      bent: { ...LIST, by: { token: `bw_${"A".repeat(43)}` } },
    },
  ]),
  ...stoppedBy<CallRow>("every route names its roles, judged before the body", [
    {
      attack: "a viewer who makes an enrolment token",
      code: "FORBIDDEN",
      honest: TOKEN,
      bent: { ...TOKEN, by: "viewer" },
    },
    {
      attack: "a viewer who makes himself an administrator",
      code: "FORBIDDEN",
      honest: ADMIN,
      bent: { ...ADMIN, by: "viewer" },
    },
    {
      attack: "a device's token for people's routes",
      code: "FORBIDDEN",
      honest: LIST,
      bent: { ...LIST, by: "device" },
    },
  ]),
  ...stoppedBy<CallRow>("what lies outside a token's sites answers as if it did not exist", [
    {
      attack: "a token of one site that asks for another's device",
      code: "NOT_FOUND",
      honest: { target: "GET /v1/devices/{mine}", by: "operatorOfA" },
      bent: { target: "GET /v1/devices/{other}", by: "operatorOfA" },
    },
    {
      attack: "a token of one site that approves another's device",
      code: "NOT_FOUND",
      honest: { target: "POST /v1/devices/{other}/approve" },
      bent: { target: "POST /v1/devices/{other}/approve", by: "operatorOfA" },
    },
    {
      attack: "a token of one site that lets devices into another",
      code: "FORBIDDEN",
      honest: { ...TOKEN, by: "operatorOfA" },
      bent: { ...TOKEN, body: { site: "plant-b" }, by: "operatorOfA" },
    },
    {
      attack: "a token of one site that makes a fleet's cohort, on which rollouts and retrainings act, its own",
      code: "FORBIDDEN",
      honest: { target: "PUT /v1/cohorts/of-a", body: { selector: "line=3,site=plant-a" }, by: "operatorOfA" },
      bent: { target: "PUT /v1/cohorts/of-a", body: { selector: "line=3" }, by: "operatorOfA" },
    },
    {
      attack: "a token of one site that closes another's account of the feed",
      code: "NOT_FOUND",
      honest: { target: "POST /v1/subscribers/scada-b/revoke" },
      bent: { target: "POST /v1/subscribers/scada-b/revoke", by: "adminOfA" },
    },
    {
      attack: "a token of one site that withdraws a model of the whole fleet",
      code: "FORBIDDEN",
      honest: { target: "GET /v1/models", by: "adminOfA" },
      bent: { target: "POST /v1/models/rul/versions/1/withdraw", by: "adminOfA" },
    },
  ]),
  ...stoppedBy<CallRow>("input is judged as it was sent: a schema, a size and a depth for everything", [
    {
      attack: "a member that nobody knows",
      code: "INVALID_SHAPE",
      honest: COHORT,
      bent: { ...COHORT, body: { selector: "line=3", admin: true } },
    },
    {
      attack: "a body over its limit",
      code: "TOO_LARGE",
      honest: COHORT,
      bent: { ...COHORT, body: new Uint8Array(1_048_577).fill(0x20) },
    },
    {
      attack: "a body that is no JSON",
      code: "INVALID_JSON",
      honest: COHORT,
      bent: { ...COHORT, body: new TextEncoder().encode("{") },
    },
    {
      attack: "a query parameter that nobody knows",
      code: "INVALID_QUERY",
      honest: LIST,
      bent: { target: "GET /v1/devices?site=plant-a&admin=1" },
    },
    {
      attack: "a cursor that the server did not give",
      code: "INVALID_CURSOR",
      honest: LIST,
      bent: { target: "GET /v1/devices?cursor=AAAA" },
    },
    {
      attack: "a name that is a path",
      code: "INVALID_PATH",
      honest: COHORT,
      bent: { ...COHORT, target: "PUT /v1/cohorts/..%2F..%2Fpasswd" },
    },
  ]),
  ...stoppedBy<CallRow>("a key belongs to its caller, route and body", [
    {
      attack: "another body under a key that served (replay)",
      code: "IDEMPOTENCY_KEY_REUSED",
      honest: keyed(TOKEN, "attack-1"),
      bent: keyed({ ...TOKEN, body: { site: "plant-a", uses: 2 } }, "attack-1"),
    },
    {
      attack: "a key that is none",
      code: "INVALID_HEADER",
      honest: keyed(TOKEN, "attack-2"),
      bent: keyed(TOKEN, "attack 2"),
    },
  ]),
];

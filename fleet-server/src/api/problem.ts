import { httpStatusOf, type Problem } from "@bellwether/protocol/errors.ts";
import { integer, mapOf } from "@bellwether/protocol/schema.ts";
import { Type } from "typebox";

export const PROBLEM_TYPE = "application/problem+json";

/** Schema of every error answer (RFC 9457): clients decide by `code`, people read `detail`. */
export const ProblemBody = Type.Object({
  type: Type.String({ description: "urn:bellwether:error:<code>" }),
  title: Type.String(),
  status: integer(),
  detail: Type.String({ description: "What was wrong, and what to do." }),
  code: Type.String({ description: "Stable code, see docs/ERRORS.md." }),
  instance: Type.String({ description: "The request id." }),
  facts: mapOf(Type.String(), Type.Unknown(), { description: "The values the sentence was made of." }),
});

/** The body of an error answer. */
export function problemBody(problem: Problem, requestId: string) {
  return {
    type: `urn:bellwether:error:${problem.code}`,
    title: titleOf(problem.code),
    status: httpStatusOf(problem.code),
    detail: problem.message,
    code: problem.code,
    instance: requestId,
    facts: problem.detail,
  };
}

function titleOf(code: string): string {
  const words = code.toLowerCase().replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

import type { ErrorTable } from "./entry.ts";

/** Errors of ONNX models and model packages. */
export const MODEL_ERRORS = {} as const satisfies ErrorTable;

import type { ErrorTable } from "./entry.ts";

/** Errors of rollouts and their gates. */
export const ROLLOUT_ERRORS = {
  ROLLOUT_COMMAND_REFUSED: {
    http: 409,
    sentence: 'The rollout {rollout} is {phase}: it cannot take the order "{order}" now.',
    remedy: "In this phase it takes: {allowed}.",
  },
  ROLLOUT_TARGET_EMPTY: {
    http: 422,
    sentence: 'No device matches the selector "{selector}".',
    remedy: "List the devices with their labels and correct the selector.",
  },
  ROLLOUT_TARGET_INCOMPATIBLE: {
    http: 422,
    sentence:
      'None of the {devices} devices that match the selector "{selector}" can run this version. {device}: {code}: {reason}',
    remedy: "Choose other devices, or a version whose manifest fits what these report of themselves.",
  },
  ROLLOUT_VERSION_UNKNOWN: {
    http: 404,
    sentence: "The model {model} has no version or alias {version}.",
    remedy: "List the model's versions and name one that exists.",
  },
  ROLLOUT_VERSION_NOT_RELEASED: {
    http: 409,
    sentence: "Version {version} of the model {model} is {phase}; only a released version can be rolled out.",
    remedy: "Release it first, or choose a released version.",
  },
  ROLLOUT_OUTSIDE_COHORT: {
    http: 409,
    sentence:
      "Version {version} of the model {model} was released for the cohort {cohort} only, and the rollout's selector does not demand all of {selector}.",
    remedy: "Roll out to the cohort's selector or to a part of it, or have the version released for everybody.",
  },
  ROLLOUT_NOT_FINISHED: {
    http: 409,
    sentence: "The rollout {rollout} came to rest {phase}: {reason}.",
    remedy: 'Look at "bellwether rollouts devices {rollout}" and "bellwether rollouts gates {rollout}".',
  },
  EXECUTION_TIMED_OUT: {
    http: 504,
    sentence: "The device did not finish within the rollout's time.",
    remedy: "Look at its link and its last report; the rollout can be retried.",
  },
} as const satisfies ErrorTable;

import type { ErrorTable } from "./entry.ts";

/** Errors of keys, signatures, metadata, enrolment and login. */
export const TRUST_ERRORS = {
  RELEASE_EXISTS: {
    http: 409,
    sentence: "Version {version} of the model {model} was released already, with another manifest.",
    remedy: "A release never changes: give the new manifest a new version.",
  },
  RELEASE_OUTSIDE_COHORT: {
    http: 403,
    sentence:
      "Version {version} of the model {model} was released for the cohort {cohort} only ({selector}), and this device's own labels are not in it.",
    remedy: "Have the owner of the release keys release it for everybody, or correct the labels on the device itself.",
  },
  RELEASE_WITHDRAWN: {
    http: 409,
    sentence: "Version {version} of the model {model}, retrained for the cohort {cohort}, was withdrawn by the owners.",
    remedy: "Choose another version; what is withdrawn does not come back.",
  },
  RETRAINING_ROLE_UNKNOWN: {
    http: 404,
    sentence: "No retraining role may release the model {model} for the cohort {cohort}.",
    remedy: 'An administrator makes one with "bellwether delegations grant {model} {cohort}".',
  },
  RETRAINING_ROLE_OFF: {
    http: 409,
    sentence: "The retraining role of the model {model} for the cohort {cohort} is switched off.",
    remedy: 'An administrator switches it on with "bellwether delegations on {model} {cohort}".',
  },
  RETRAINING_COHORT_UNKNOWN: {
    http: 409,
    sentence: "{cohort} is no cohort whose devices could be told apart: {reason}.",
    remedy: 'Name its selector with "bellwether cohorts set {cohort} SELECTOR" first.',
  },
  ENVELOPE_WRONG_TYPE: {
    http: 400,
    sentence: "The envelope holds {actual}, not {expected}.",
    remedy: "Send the document that belongs here.",
  },
  ENVELOPE_UNKNOWN_KEY: {
    http: 403,
    sentence: "The envelope is signed by the key {keyid}, which nobody trusted has named.",
    remedy: "Somebody else may be speaking in the server's name: check the broker and the network between.",
  },
  ENVELOPE_SIGNATURE_INVALID: {
    http: 403,
    sentence: "The signature of the trusted key {keyid} does not fit the envelope's bytes.",
    remedy: "The document was changed on its way: check the broker and the network between.",
  },
  DIRECTOR_WRONG_DEVICE: {
    http: 403,
    sentence: "The director document is for the device {actual}, this is {expected}.",
    remedy: "Check who sends documents of one device to another.",
  },
  DIRECTOR_ROLLBACK: {
    http: 409,
    sentence: "The director document has version {version}; version {newest} was accepted before.",
    remedy: "To go back to an earlier model the server must issue a newer document; look at its restore.",
  },
  DIRECTOR_EXPIRED: {
    http: 409,
    sentence: "The director document expired at {expiredAt}.",
    remedy: "The server renews documents by itself: check its clock, the device's clock and the link.",
  },
  KEY_INVALID: {
    http: 400,
    sentence: "The public key cannot be used: {reason}.",
    remedy: "Make a new Ed25519 key pair and send its public key as 64 hex digits.",
  },
} as const satisfies ErrorTable;

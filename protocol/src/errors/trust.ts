import type { ErrorTable } from "./entry.ts";

/** Errors of keys, signatures, metadata, enrolment and login. */
export const TRUST_ERRORS = {
  SERVER_TIME_REFUSED: {
    http: 422,
    sentence: "The time that the server signed is not believed: {reason}.",
    remedy: "The device goes by its own clock and by what was signed before; it asks again with the next document.",
  },
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
  PUBLICATION_UNREADABLE: {
    http: 400,
    sentence: "The {role} metadata cannot be read: {reason}.",
    remedy: 'Send the file as "bellwether release sign" or "bellwether keys" wrote it.',
  },
  PUBLICATION_UNSIGNED: {
    http: 403,
    sentence: "The {role} metadata lack signatures: root version {root} demands {threshold} of its keys.",
    remedy: "Have the holders of the other offline keys sign the same file, and see that nobody changed it.",
  },
  PUBLICATION_VERSION: {
    http: 409,
    sentence: "The {role} metadata have version {version}; the next one is {expected}.",
    remedy: "Others published meanwhile: make a new request, sign it and publish that.",
  },
  PUBLICATION_EXPIRED: {
    http: 409,
    sentence: "The {role} metadata expired at {expiredAt}.",
    remedy: "Sign them again, on a machine whose clock is right.",
  },
  TARGETS_INCONSISTENT: {
    http: 409,
    sentence: "The signed targets do not fit: {reason}.",
    remedy: "Make a new request, read what it asks for, sign it and publish that.",
  },
  ONLINE_KEY_MISSING: {
    http: 409,
    sentence: "This server has none of the {role} keys that the offline keys name, or too few.",
    remedy: 'Export its keys with "bellwether keys online" and have those named.',
  },
  REPOSITORY_EMPTY: {
    http: 409,
    sentence: "No owner of release keys has signed a root and targets for this server yet.",
    remedy:
      'Make keys with "bellwether keys init" and bring what they signed here with "bellwether keys install"; docs/RELEASE-KEYS.md tells how.',
  },
  KEY_NOT_NAMED: {
    http: 403,
    sentence: "None of the keys here is one that the root names for {role}.",
    remedy: "Use the folder of the keys that belong to this fleet.",
  },
  KEYS_MISSING: {
    http: 404,
    sentence: "There are no release keys in {dir}.",
    remedy: 'Name their folder with --keys or BELLWETHER_KEYS; "bellwether keys init" makes new ones.',
  },
  KEYS_TOO_FEW: {
    http: 409,
    sentence: "The role {role} would have {keys} keys, and {threshold} of them must sign.",
    remedy: "Add a key before you revoke one, or lower the threshold with --threshold.",
  },
  KEYS_THERE: {
    http: 409,
    sentence: "There are keys in {dir} already.",
    remedy: "Choose another folder: keys that are in use must never be overwritten.",
  },
  REPOSITORY_THERE: {
    http: 409,
    sentence: "The server's repository in {dir} has its first root already.",
    remedy: 'Bring later metadata with "bellwether release publish".',
  },
  PASSPHRASE_MISSING: {
    http: 400,
    sentence: "The offline keys need a passphrase.",
    remedy:
      "Give it with --passphrase-file, in BELLWETHER_PASSPHRASE or at the terminal; --no-passphrase makes keys in the clear.",
  },
  KEYS_UNNAMED: {
    http: 400,
    sentence: "Nobody said where the offline keys are.",
    remedy: "Name their folder with --keys or BELLWETHER_KEYS.",
  },
  SIGNATURES_MISSING: {
    http: 409,
    sentence: "The root demands {missing} signatures more than the keys here can give.",
    remedy: 'Use "bellwether release request", and "release sign" where each of the keys is.',
  },
  KEY_FILE_WRONG: {
    http: 400,
    sentence: "The key file {file} cannot be used: {reason}.",
    remedy: 'Take it from a copy that was kept elsewhere; a lost key is replaced with "bellwether keys rotate".',
  },
  DEVELOPMENT_KEYS_REFUSED: {
    http: 409,
    sentence: "This fleet's release keys are development keys, and NODE_ENV says production.",
    remedy: 'Make real keys with "bellwether keys init", or start with --development-keys if you know what that means.',
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

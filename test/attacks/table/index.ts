import { CALLS } from "./api.ts";
import {
  CONNECT,
  DEVICE_PUBLISH,
  DEVICE_SUBSCRIBE,
  PACKETS,
  POISON,
  READER_PUBLISH,
  READER_SUBSCRIBE,
} from "./broker.ts";
import { DELEGATION } from "./delegation.ts";
import { ROTATION } from "./device-keys.ts";
import { DIRECTOR } from "./director.ts";
import { ENROLMENT, LOGIN } from "./enrolment.ts";
import { METADATA } from "./metadata.ts";
import { UPLOADS } from "./models.ts";
import type { Row } from "./row.ts";
import { STOLEN } from "./stolen.ts";
import { IMPOSTORS } from "./tls.ts";
import { PACKAGES, TRANSFER } from "./transfer.ts";

/** Rows that one test runs, one after the other. */
export interface Section {
  readonly title: string;
  /** Who attacks, and what goes on undisturbed. */
  readonly about: string;
  readonly test: string;
  /** The name under which the test imports them. */
  readonly name: string;
  readonly rows: readonly Row[];
}

const UNDISTURBED = "the device goes on predicting with the model it had, and later takes what its owners released.";

/** Every attack of the table, as docs/ATTACKS.md lists them. */
export const SECTIONS: readonly Section[] = [
  {
    title: "Release metadata",
    about: `Whoever serves the release repository, or sits before it, with whatever keys the row says; ${UNDISTURBED}`,
    test: "test/attacks/repository.test.ts",
    name: "METADATA",
    rows: METADATA,
  },
  {
    title: "Director documents",
    about: `Whoever sends a device what it should run; ${UNDISTURBED}`,
    test: "test/attacks/updates.test.ts",
    name: "DIRECTOR",
    rows: DIRECTOR,
  },
  {
    title: "Transfers",
    about: `Whoever answers in the repository's place; ${UNDISTURBED}`,
    test: "test/attacks/updates.test.ts",
    name: "TRANSFER",
    rows: TRANSFER,
  },
  {
    title: "Files of a release",
    about: `Whoever holds the blob store; ${UNDISTURBED}`,
    test: "test/attacks/updates.test.ts",
    name: "PACKAGES",
    rows: PACKAGES,
  },
  {
    title: "Automatic retraining's role",
    about: `Whoever holds the role's key and every other online key; ${UNDISTURBED}`,
    test: "test/attacks/delegation.test.ts",
    name: "DELEGATION",
    rows: DELEGATION,
  },
  {
    title: "A stolen server",
    about: `Whoever holds the server's data directory with every online key in it; ${UNDISTURBED}`,
    test: "test/attacks/stolen-server.test.ts",
    name: "STOLEN",
    rows: STOLEN,
  },
  {
    title: "Enrolment",
    about: "Whoever reaches the server, with an enrolment token or without; nothing comes in, and no key changes.",
    test: "test/attacks/enrolment.test.ts",
    name: "ENROLMENT",
    rows: ENROLMENT,
  },
  {
    title: "Logins of devices",
    about: "Whoever has heard or holds something of a device that logs in.",
    test: "test/attacks/enrolment.test.ts",
    name: "LOGIN",
    rows: LOGIN,
  },
  {
    title: "New keys of devices",
    about: "Whoever wants another key to count for a device; its own key goes on counting.",
    test: "test/attacks/device-keys.test.ts",
    name: "ROTATION",
    rows: ROTATION,
  },
  {
    title: "Logins over MQTT",
    about: "Whoever has heard or holds something of a device; the connection that it has goes on.",
    test: "test/attacks/access.test.ts",
    name: "CONNECT",
    rows: CONNECT,
  },
  {
    title: "What a device says over MQTT",
    about:
      "A device that turned against the others; whom it speaks of loses nothing. {me} and {other} are devices of {site}.",
    test: "test/attacks/access.test.ts",
    name: "DEVICE_PUBLISH",
    rows: DEVICE_PUBLISH,
  },
  {
    title: "What a device hears",
    about: "The same device, listening.",
    test: "test/attacks/access.test.ts",
    name: "DEVICE_SUBSCRIBE",
    rows: DEVICE_SUBSCRIBE,
  },
  {
    title: "What a subscriber hears",
    about: "An account of plant-a.",
    test: "test/attacks/access.test.ts",
    name: "READER_SUBSCRIBE",
    rows: READER_SUBSCRIBE,
  },
  {
    title: "What a subscriber says",
    about: "The same account.",
    test: "test/attacks/access.test.ts",
    name: "READER_PUBLISH",
    rows: READER_PUBLISH,
  },
  {
    title: "Packets",
    about: "Whoever reaches the broker, or has a device; others are served as before.",
    test: "test/attacks/broker.test.ts",
    name: "PACKETS",
    rows: PACKETS,
  },
  {
    title: "Poison",
    about: "A device that sends what nobody can read; its own stream goes on, too.",
    test: "test/attacks/broker.test.ts",
    name: "POISON",
    rows: POISON,
  },
  {
    title: "Impostors of the server",
    about: "Whoever answers at the server's address; he is told nothing at all, over HTTPS and over MQTT.",
    test: "test/attacks/transport.test.ts",
    name: "IMPOSTORS",
    rows: IMPOSTORS,
  },
  {
    title: "The REST API",
    about: "Whoever reaches the API, with a token or without; what is refused has changed nothing.",
    test: "test/attacks/api.test.ts",
    name: "CALLS",
    rows: CALLS,
  },
  {
    title: "Uploads of models",
    about: "Whoever may upload; the server answers everybody else within 100 ms meanwhile (99th percentile).",
    test: "test/attacks/models.test.ts",
    name: "UPLOADS",
    rows: UPLOADS,
  },
];

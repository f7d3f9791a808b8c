import type { ErrorTable } from "./entry.ts";

/** Errors of TLS, certificates and proxies. */
export const TLS_ERRORS = {
  TLS_CA_UNKNOWN: {
    http: 502,
    sentence: "The certificate of {name} is not signed by the CA that was pinned.",
    remedy:
      "Somebody else may be answering in its name: check the address and the network; if the server's CA was changed, enrol the device with the new one.",
  },
  TLS_FINGERPRINT_WRONG: {
    http: 502,
    sentence: "No CA that {name} shows has the fingerprint {expected}; it shows {actual}.",
    remedy: 'Compare with what "bellwether up" printed on the server itself; if they differ, somebody is in between.',
  },
  TLS_PIN_MISSING: {
    http: 502,
    sentence: "The certificate of {name} is not publicly trusted ({reason}), and no CA was named.",
    remedy:
      'Name the server\'s CA with "--ca sha256:…" (its fingerprint, which "bellwether up" prints) or "--ca FILE".',
  },
  TLS_NAME_WRONG: {
    http: 502,
    sentence: "The certificate that {name} shows is for {actual}.",
    remedy: 'Use a name it is for, or start the server with "--name {name}".',
  },
  TLS_EXPIRED: {
    http: 502,
    sentence: "The certificate of {name} is not valid at {at}: it is for {from} to {to}.",
    remedy: "Renew the server's certificate, or set the clock of this machine.",
  },
  TLS_USAGE_WRONG: {
    http: 502,
    sentence: "The certificates of {name} must not be used here: {reason}.",
    remedy: "Have the server's certificate made anew for a TLS server.",
  },
  TLS_FAILED: {
    http: 502,
    sentence: "TLS with {name} failed: {reason}.",
    remedy: "Check that the port is one for TLS, and the protocol versions of both sides.",
  },
  CERTIFICATES_OFF: {
    http: 404,
    sentence: "This server gives devices no certificates: it speaks no TLS.",
    remedy: 'Start it with "--listen"; devices fetch a certificate by themselves then.',
  },
  CLIENT_CERTIFICATE_REFUSED: {
    http: 403,
    sentence: "The device {device} was refused at TLS: {reason}.",
    remedy:
      "A device fetches its certificate by itself (POST /v1/device/certificate); one of your own PKI must carry the device's name as its CN.",
  },
  TLS_FILE_UNUSABLE: {
    http: 400,
    sentence: "{what} cannot be used: {reason}.",
    remedy:
      "Give PEM: a certificate first, then what it is signed by; the private key in a file of its own, mode 0600.",
  },
  PROXY_REFUSED: {
    http: 502,
    sentence: "The proxy {proxy} let nothing through to {target}: {reason}.",
    remedy: "Check link.proxy (address, user and password) and that the proxy allows CONNECT to that name and port.",
  },
  LISTEN_INSECURE: {
    http: 400,
    sentence: "Without TLS the server listens on loopback only, not on {host}.",
    remedy: 'Leave out "--no-tls" (a development CA is made by itself), or put a TLS proxy of your own in front.',
  },
  LINK_INSECURE: {
    http: 502,
    sentence: "This device enrolled over TLS, and {url} would be spoken to in clear text.",
    remedy: "Give an mqtts:// or wss:// address: nothing sends a device's login in the clear once it has TLS.",
  },
  LINK_FILE_UNUSABLE: {
    http: 400,
    sentence: "The file {file} that link names cannot be used: {reason}.",
    remedy: "Correct the file, or its name in the agent's configuration.",
  },
} as const satisfies ErrorTable;

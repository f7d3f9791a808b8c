import { alarmSentence, type Expiry, judgeExpiry, type Signed } from "./expiries.ts";

export interface ExpiryWatchPorts {
  /** Everything that is signed for a time. */
  signed(): Promise<readonly Signed[]>;
  now(): number;
  warn(sentence: string): void;
}

const LOOK_EVERY_MS = 3_600_000;

/** Looks at the expiries every hour, and says each alarm once, when it is reached. */
export function createExpiryWatch(ports: ExpiryWatchPorts) {
  const said = new Map<string, Expiry["alarm"]>();
  let timer: NodeJS.Timeout | undefined;

  async function expiries(): Promise<readonly Expiry[]> {
    return (await ports.signed()).map((one) => judgeExpiry(one, ports.now()));
  }

  async function look(): Promise<void> {
    for (const expiry of await expiries()) {
      if (said.get(expiry.role) === expiry.alarm) continue;
      said.set(expiry.role, expiry.alarm);
      const sentence = alarmSentence(expiry);
      if (sentence !== undefined) ports.warn(sentence);
    }
  }

  return {
    expiries,
    look,
    /** Looks now and from now on. */
    async start(): Promise<void> {
      await look();
      timer = setInterval(
        () => void look().catch((cause: unknown) => ports.warn(String(cause))),
        LOOK_EVERY_MS,
      ).unref();
    },
    stop(): void {
      clearInterval(timer);
    },
  };
}
export type ExpiryWatch = ReturnType<typeof createExpiryWatch>;

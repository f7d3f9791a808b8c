import type { Rooms } from "../store.ts";
import type { Command } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import type { NamedCall } from "./wire.ts";

type AnyCommand = Command<unknown, unknown>;

/** Carries a call to whoever has the database, with what is handed over for good; answers what the command answered, packed. */
export type Carry = (command: AnyCommand, call: NamedCall, transfer: readonly ArrayBuffer[]) => Promise<unknown>;

/** Every room's commands as the rest of the program calls them, over a way to where they run. */
export function roomsOver(carry: Carry): Rooms {
  const roomOf = (room: string, commands: Readonly<Record<string, AnyCommand>>) =>
    Object.fromEntries(
      Object.entries(commands).map(([name, command]) => [
        name,
        async (args: unknown) => {
          const { wire } = command;
          if (wire === undefined) return carry(command, { room, command: name, args }, []);
          const { packed, transfer } = wire.packArgs(args);
          return wire.unpackAnswer(args, await carry(command, { room, command: name, args: packed }, transfer));
        },
      ]),
    );
  const rooms: object = Object.fromEntries(
    Object.entries(COMMANDS).map(([room, commands]) => [
      room,
      roomOf(room, commands as Readonly<Record<string, AnyCommand>>),
    ]),
  );
  return rooms as Rooms;
}

import type { Registers } from "../../machine/index.ts";
import type { RuleSetName } from "../../mediator/index.ts";
import {
  functionName,
  isRpcReturn,
  messageCommandName,
  returnName,
  rpcCommandName,
  SMC_RETURN,
} from "../../optee-abi/index.ts";
import type { Guest } from "./guest.ts";
import type { Observer, Violation } from "./machine.ts";
import type { Program } from "./program.ts";
import { runProgram } from "./run-program.ts";

/** Runs a program and tells every SMC, every decision of the mediator and every violation. */
export function replay(
  program: Program,
  rules: RuleSetName,
  line: (text: string) => void = () => {},
): readonly Violation[] {
  let depth = 0;
  const say = (text: string): void => line(`${"  ".repeat(depth)}${text}`);
  const observer: Observer = {
    guest(guest, phase, registers) {
      if (phase === "enter") {
        say(`VM ${guest.serial} ${registersOf(registers, 8)}${messageOfCall(guest, registers)}`);
        depth += 1;
      } else {
        depth -= 1;
        say(`VM ${guest.serial} <- ${answerOf(registers)}${requestOf(guest, registers)}`);
      }
    },
    port(phase, registers) {
      if (phase === "enter") say(`secure world: ${registersOf(registers, 8)}`);
      else say(`secure world: <- ${answerOf(registers)}`);
    },
    violation: ({ invariant, seen }) => say(`VIOLATION ${invariant}: ${seen}`),
  };
  const { violations } = runProgram(program, {
    rules,
    observer,
    trace: ({ clause, what }) => say(`mediator: ${clause} ${what}`),
    beforeStep: (index) => {
      depth = 0;
      line(`step ${index}: ${JSON.stringify(program.steps[index])}`);
      depth = 1;
    },
  });
  return violations;
}

const hex = (value: number | bigint): string => `0x${value.toString(16)}`;

function registersOf(registers: Registers, count: number): string {
  const words = Array.from({ length: count - 1 }, (_, index) => hex(registers.get64(index + 1)));
  return `${functionName(registers.get(0))} ${words.join(" ")}`;
}

function answerOf(registers: Registers): string {
  const words = [1, 2, 3].map((index) => hex(registers.get64(index)));
  const a0 = registers.get(0);
  const name = returnName.find(a0) ?? functionName.find(a0) ?? hex(a0);
  return `${name} ${words.join(" ")}`;
}

/** The command of the message that a call names. */
function messageOfCall(guest: Guest, registers: Registers): string {
  const message = guest.messageOf(registers);
  return message === undefined ? "" : ` (${messageCommandName(message.cmd)})`;
}

function requestOf(guest: Guest, registers: Registers): string {
  if (!isRpcReturn(registers.get(0)) || registers.get(0) !== SMC_RETURN.RPC_CMD) return "";
  const request = guest.request(registers.get(1), registers.get(2));
  return request === undefined ? "" : ` (${rpcCommandName(request.cmd)})`;
}

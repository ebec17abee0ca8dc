import { MessageView, MSG_CMD, OPTEE_SMC, SMC_RETURN, TEEC } from "../../../../optee-abi/index.ts";
import { PLANTED_BUGS } from "../../../testkit/planted.ts";
import type { Plant } from "../plant.ts";

/** A planted bug, what it is and the clause that it breaks. */
export type NamedPlant = Plant & { readonly name: string; readonly clause: string };

const HEADER = 32;

/** An unknown cookie "cannot be found" when it is unregistered. */
const unknownCookie: NamedPlant = {
  name: "an unknown cookie cannot be found when it is unregistered",
  where: "secure world",
  clause: "MSG-2.UNREGISTER_SHM",
  plant: (smc, memory) => (registers) => {
    const at = registers.get(0) === OPTEE_SMC.CALL_WITH_ARG ? registers.pair(1) : 0;
    smc(registers);
    if (at === 0 || registers.get(0) !== SMC_RETURN.OK) return;
    const bytes = memory.read(at, HEADER);
    const message = new MessageView(bytes);
    if (message.cmd !== MSG_CMD.UNREGISTER_SHM || message.numParams !== 1) return;
    if (message.ret !== TEEC.TEEC_ERROR_BAD_PARAMETERS) return;
    message.ret = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    memory.write(at, bytes);
  },
};

/** Clauses that random programs come upon within a few: what is rare takes them longer. */
const SOON = ["MSG-2.CANCEL", "SMC-5.ALLOC", "MED-024"];

/** Bugs of different kinds that random programs come upon soon. */
export const PROGRAM_PLANTS: readonly NamedPlant[] = [
  ...PLANTED_BUGS.filter(({ clause }) => SOON.includes(clause)),
  unknownCookie,
];

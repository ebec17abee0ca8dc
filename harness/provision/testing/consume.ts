import { messageOf } from "../../base/index.ts";
import { type ConfirmationBinding, consumeConfirmation } from "../confirmation.ts";

/** Uses a code at a given moment, as one of several processes: `consume.js CODE BINDING WHEN`. */
const [, , code = "", binding = "{}", when = "0"] = process.argv;
const bound = JSON.parse(binding) as ConfirmationBinding;
while (Date.now() < Number(when)) {
  // All of them at the same moment.
}
try {
  consumeConfirmation(process.env, code, bound);
  process.stdout.write("won");
} catch (error) {
  process.stdout.write(messageOf(error));
}

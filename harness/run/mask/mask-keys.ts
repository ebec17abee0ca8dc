import { secrets } from "../../base/index.ts";
import { KnownSecrets } from "./known-secrets.ts";
import { maskText } from "./text-masker.ts";

/**
 * A text that leaves outside a bundle, e.g. an error that quotes a console's last lines: every
 * registered secret is overwritten, and every key that the text shows by itself, such as the dump of
 * a write-key build. Such a key is registered from then on.
 */
export const maskKeys = (text: string): string =>
  secrets.mask(maskText(new KnownSecrets(secrets), text));

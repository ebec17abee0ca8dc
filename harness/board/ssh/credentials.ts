import { readFile } from "node:fs/promises";
import { BoardFileError, messageOf, secrets, UsageError } from "../../base/index.ts";
import type { SecretRef, SshConfig } from "../file/model.ts";

/** The private client key of a board, registered as a secret. Throws BoardFileError or UsageError. */
export async function readClientKey(
  key: SshConfig["key"],
  where: string,
): Promise<string | undefined> {
  if (key === undefined) return undefined;
  if (typeof key === "object" && "env" in key) {
    const value = await readSecret(key, where);
    return value.endsWith("\n") ? value : `${value}\n`;
  }
  const file = typeof key === "string" ? key : key.file;
  try {
    const text = await readFile(file, "utf8");
    secrets.add(text.trim());
    return text;
  } catch (error) {
    throw new BoardFileError("the SSH client key cannot be read", {
      where,
      seen: messageOf(error),
      next: "Correct ssh.key in the board file.",
    });
  }
}

/** The value of a secret that a board file names. Throws UsageError where it is not set. */
export async function readSecret(reference: SecretRef, where: string): Promise<string> {
  if ("env" in reference) {
    const value = process.env[reference.env];
    if (value === undefined || value === "") {
      throw new UsageError(`the environment variable ${reference.env} is not set`, {
        where,
        next: `Set ${reference.env} to the secret that the board file refers to.`,
      });
    }
    secrets.add(value);
    return value;
  }
  try {
    const value = (await readFile(reference.file, "utf8")).replace(/\r?\n$/, "");
    secrets.add(value);
    return value;
  } catch (error) {
    throw new BoardFileError("a secret that the board file refers to cannot be read", {
      where,
      seen: messageOf(error),
      next: "Correct the file name in the board file.",
    });
  }
}

import { EXIT, type ExitCode } from "../../base/index.ts";

/** One line of what the doctor says. */
export interface Check {
  /** `bad`: something that is needed is missing or wrong. `warn`: worth knowing, not needed now. */
  readonly status: "ok" | "warn" | "bad";
  readonly what: string;
  readonly detail: string;
  /** How to mend it, as one line; for `warn` and `bad`. */
  readonly mend?: string;
  /** The exit code that a `bad` one asks for; 3 where absent. */
  readonly exit?: ExitCode;
}

export const ok = (what: string, detail: string): Check => ({ status: "ok", what, detail });

export const warn = (what: string, detail: string, mend: string): Check => ({
  status: "warn",
  what,
  detail,
  mend,
});

export const bad = (
  what: string,
  detail: string,
  mend: string,
  exit: ExitCode = EXIT.infrastructure,
): Check => ({ status: "bad", what, detail, mend, exit });

/** `warn` where it is not needed now, else `bad`. */
export const lacking = (needed: boolean, what: string, detail: string, mend: string): Check =>
  needed ? bad(what, detail, mend) : warn(what, detail, mend);

import { readFile } from "node:fs/promises";
import path from "node:path";
import type { ErrorObject, ValidateFunction } from "ajv";
import { didYouMean, packageRoot } from "../../base/index.ts";
import type { BoardFileProblem, DataPath, Source } from "./source.ts";

/** The published schemas that a board file, a type file and a file of expectations must satisfy. */
export type SchemaName = "board" | "board-type" | "divergences";

/** What a schema refers to. */
const USES: Readonly<Record<SchemaName, readonly SchemaName[]>> = {
  board: ["board-type"],
  "board-type": [],
  divergences: [],
};

const compiled = new Map<SchemaName, Promise<ValidateFunction>>();

async function compile(schema: SchemaName): Promise<ValidateFunction> {
  const read = async (name: SchemaName): Promise<object> =>
    JSON.parse(
      await readFile(path.join(packageRoot, "boards", "schema", `${name}.schema.json`), "utf8"),
    ) as object;
  const [{ Ajv }, own, ...used] = await Promise.all([
    import("ajv"),
    read(schema),
    ...USES[schema].map((name) => read(name)),
  ]);
  const ajv = new Ajv({ allErrors: true, verbose: true, allowUnionTypes: true });
  for (const one of used) ajv.addSchema(one);
  return ajv.compile(own);
}

/** Everything in `source` that its schema refuses, in file order. */
export async function checkSchema(source: Source, schema: SchemaName): Promise<BoardFileProblem[]> {
  if (source.data === undefined) return [];
  let compiling = compiled.get(schema);
  if (compiling === undefined) compiled.set(schema, (compiling = compile(schema)));
  const validate = await compiling;
  if (validate(source.data)) return [];
  const problems = (validate.errors ?? [])
    .filter(({ keyword }) => keyword !== "propertyNames")
    .map((error) => explain(source, error));
  return problems.toSorted((a, b) => a.line - b.line || a.column - b.column);
}

function explain(source: Source, error: ErrorObject): BoardFileProblem {
  const at = pointer(error.instancePath);
  const name = at.length === 0 ? "the file" : `\`${at.join(".")}\``;
  const params = error.params as Record<string, unknown>;
  const e = example(error);
  if (error.propertyName !== undefined) {
    return source.problem(
      [...at, error.propertyName],
      `the name \`${error.propertyName}\` in ${name} has characters that are not allowed there`,
      { onKey: true, next: "Use lower-case letters, digits and `-`." },
    );
  }
  switch (error.keyword) {
    case "additionalProperties": {
      const key = String(params["additionalProperty"]);
      const known = Object.keys((error.parentSchema?.["properties"] as object | undefined) ?? {});
      const where = at.length === 0 ? "" : ` in ${name}`;
      return source.problem([...at, key], `unknown key \`${key}\`${where}`, {
        onKey: true,
        next: sentence(didYouMean(key, known)) ?? `Known keys: ${known.join(", ")}.`,
      });
    }
    case "type":
      if (isSecret(error)) return literalSecret(source, at, name);
      return source.problem(
        at,
        `${name} must be ${typeName(params["type"])}, not ${seenValue(error.data)}${e}`,
      );
    case "enum": {
      const allowed = (params["allowedValues"] as unknown[]).map(String);
      return source.problem(
        at,
        `${name} must be one of ${allowed.join(", ")}; not ${seenValue(error.data)}`,
        {
          ...optional("next", sentence(didYouMean(String(error.data), allowed))),
        },
      );
    }
    case "pattern":
      if (isSecret(error)) return literalSecret(source, at, name, e);
      return source.problem(
        at,
        `${name} does not have the right form: ${seenValue(error.data)}${e}`,
      );
    case "required":
      return source.problem(at, `${name} lacks the key \`${String(params["missingProperty"])}\``, {
        next:
          params["missingProperty"] === "type"
            ? "Add e.g. `type: qemu-virt`; `lockstep boards new` writes a file to start from."
            : `Add \`${String(params["missingProperty"])}:\`.`,
      });
    case "minimum":
    case "maximum":
      return source.problem(at, `${name} ${error.message ?? ""}, not ${seenValue(error.data)}`);
    case "minItems":
    case "minLength": {
      const limit = params["limit"];
      const what =
        limit === 1 ? "must not be empty" : `must have ${String(limit)} characters or more`;
      return source.problem(at, `${name} ${what}${e}`);
    }
    case "minProperties":
    case "maxProperties":
      return source.problem(at, `${name} must have exactly one of the keys env, file${e}`);
    default:
      return source.problem(at, `${name} ${error.message ?? "is not valid"}${e}`);
  }
}

/** The value that stands there is not repeated. */
function literalSecret(source: Source, at: DataPath, name: string, e = ""): BoardFileProblem {
  return source.problem(
    at,
    `${name} holds a value, but a secret never stands in a board file${e}`,
    {
      next: "Refer to it: `{ env: NAME }` reads an environment variable, `{ file: PATH }` a file.",
    },
  );
}

function isSecret({ parentSchema }: ErrorObject): boolean {
  const properties = parentSchema?.["properties"] as object | undefined;
  return parentSchema?.["maxProperties"] === 1 && properties !== undefined && "env" in properties;
}

function pointer(instancePath: string): (string | number)[] {
  return instancePath
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .map((part) => (/^(?:0|[1-9]\d{0,5})$/.test(part) ? Number(part) : part));
}

function example(error: ErrorObject): string {
  const examples = error.parentSchema?.["examples"] as string[] | undefined;
  return examples?.[0] === undefined ? "" : ` (e.g. ${examples[0]})`;
}

function typeName(type: unknown): string {
  const names: Record<string, string> = {
    object: "a map",
    array: "a list",
    string: "a text",
    integer: "a whole number",
    number: "a number",
    boolean: "true or false",
  };
  const types = Array.isArray(type) ? type : [type];
  return types.map((one) => names[String(one)] ?? String(one)).join(" or ");
}

function seenValue(value: unknown): string {
  if (value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a map";
  const text = JSON.stringify(value);
  const kind = typeof value === "string" ? "" : `the ${typeof value} `;
  return kind + (text.length > 60 ? `${text.slice(0, 57)}…` : text);
}

function sentence(text: string | undefined): string | undefined {
  return text === undefined ? undefined : text.charAt(0).toUpperCase() + text.slice(1);
}

function optional<K extends string>(key: K, value: string | undefined): { [P in K]?: string } {
  return (value === undefined ? {} : { [key]: value }) as { [P in K]?: string };
}

const CASE_ID = "^[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+$";
const NODE_ID = "^[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+(?:\\.[0-9]+)*$";
const VERSION = "^[0-9]+\\.[0-9]+(?:\\.[0-9]+)?$";

/** JSON Schema of `boards/expectations/xtest-<version>.yaml`. */
export const EXPECTED_SCHEMA = {
  $schema: "http://json-schema.org/draft-07/schema#",
  title: "Expected cases of one xtest version",
  type: "object",
  additionalProperties: false,
  required: ["format", "xtest", "suites"],
  properties: {
    format: { const: 1 },
    xtest: { type: "string", pattern: VERSION },
    suites: {
      type: "object",
      minProperties: 1,
      propertyNames: { pattern: "^[A-Za-z][A-Za-z0-9_]*$" },
      additionalProperties: {
        type: "object",
        minProperties: 1,
        propertyNames: { pattern: CASE_ID },
        additionalProperties: { type: "string" },
      },
    },
    records: {
      type: "array",
      items: {
        type: "object",
        additionalProperties: false,
        required: ["optee", "board", "level", "suite", "subtests"],
        properties: {
          optee: { type: "string", pattern: VERSION },
          board: { type: "string", minLength: 1 },
          level: { type: "integer", minimum: 0, maximum: 15 },
          suite: { type: "string", pattern: "^[A-Za-z0-9_]+(?:\\+[A-Za-z0-9_]+)*$" },
          remark: { type: "string" },
          subtests: {
            type: "object",
            additionalProperties: false,
            required: ["min", "max"],
            properties: {
              min: { type: "integer", minimum: 1 },
              max: { type: "integer", minimum: 1 },
            },
          },
          subcases: {
            type: "object",
            propertyNames: { pattern: CASE_ID },
            additionalProperties: {
              type: "string",
              pattern: "^[0-9]+(?:\\.[0-9]+)*(?: [0-9]+(?:\\.[0-9]+)*)*$",
            },
          },
          skips: {
            type: "object",
            propertyNames: { pattern: NODE_ID },
            additionalProperties: { type: "string", minLength: 1 },
          },
        },
      },
    },
  },
} as const;

/** The same document as a type; valid only after the schema said so. */
export interface ExpectedDocument {
  readonly format: 1;
  readonly xtest: string;
  readonly suites: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly records?: readonly {
    readonly optee: string;
    readonly board: string;
    readonly level: number;
    readonly suite: string;
    readonly remark?: string;
    readonly subtests: { readonly min: number; readonly max: number };
    readonly subcases?: Readonly<Record<string, string>>;
    readonly skips?: Readonly<Record<string, string>>;
  }[];
}

import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { packageRoot } from "../harness/base/index.ts";

const read = (file: string): string => readFileSync(path.join(packageRoot, file), "utf8");

/** Folders under harness/ by name, and `reports`. */
const ROOMS = readdirSync(path.join(packageRoot, "harness"));
const EVERYTHING = ROOMS.filter((room) => room !== "cli").toSorted();

/** Room to the rooms that the last column of the architecture's table allows, `base` left out. */
function documented(): Map<string, string[]> {
  const rows = read("ARCHITECTURE.md").matchAll(
    /^\| `(?:harness\/)?([\w-]+)\/` \|.*\| ([^|]+) \|$/gm,
  );
  const table = new Map<string, string[]>();
  for (const [, room = "", cell = ""] of rows) {
    const names = cell === "–" ? [] : cell.split(", ");
    table.set(room, cell === "everything" ? EVERYTHING : names.toSorted());
  }
  return table;
}

interface LintConfig {
  readonly overrides: readonly {
    readonly files: readonly string[];
    readonly rules: { readonly "no-restricted-imports"?: [string, { patterns: Pattern[] }] };
  }[];
}
interface Pattern {
  readonly regex?: string;
}

/** The rooms that the linter lets `room` import, tried on each room's face. */
function enforced(room: string): string[] {
  const folder = room === "reports" ? room : `harness/${room}`;
  const { overrides } = JSON.parse(read(".oxlintrc.json")) as LintConfig;
  const rules = overrides.filter(({ files }) => files.includes(`${folder}/**/*.ts`));
  const patterns = rules.flatMap(
    ({ rules: { "no-restricted-imports": rule } }) => rule?.[1].patterns ?? [],
  );
  if (patterns.length === 0) throw new Error(`no rule for ${folder}`);
  return ROOMS.filter((other) => other !== room)
    .filter((other) =>
      patterns.every(
        ({ regex }) => regex === undefined || !new RegExp(regex).test(`../${other}/index.ts`),
      ),
    )
    .toSorted();
}

/** The rooms that the sources of `folder` import. */
function imported(folder: string): string[] {
  const rooms = new Set<string>();
  const files = readdirSync(path.join(packageRoot, folder), { recursive: true, encoding: "utf8" });
  for (const file of files.filter((name) => name.endsWith(".ts"))) {
    const dir = path.dirname(path.join(packageRoot, folder, file));
    for (const [, target = ""] of read(path.join(folder, file)).matchAll(
      /(?:from|import)\s*\(?\s*"(\.\.?\/[^"]+)"/g,
    )) {
      const [top, room = ""] = path
        .relative(packageRoot, path.resolve(dir, target))
        .split(path.sep);
      if (top === "harness" && `harness/${room}` !== folder) rooms.add(room);
    }
  }
  return [...rooms].toSorted();
}

test("the architecture's table has a row for every folder of the harness, and none for another", () => {
  const rows = [...documented().keys()];
  expect(rows.filter((room) => ROOMS.includes(room)).toSorted()).toEqual(ROOMS.toSorted());
  for (const room of rows) {
    const found = ["", "harness"].some((top) => existsSync(path.join(packageRoot, top, room)));
    expect([room, found]).toEqual([room, true]);
  }
});

test.each([...ROOMS.filter((room) => room !== "base"), "reports"])(
  "what %s may import is the same in the architecture's table and in the linter, and it imports no more",
  (room) => {
    const allowed = documented().get(room) ?? [];
    expect(enforced(room).filter((other) => other !== "base")).toEqual(
      room === "cli" ? EVERYTHING.filter((other) => other !== "base") : allowed,
    );
    const seen = imported(room === "reports" ? room : `harness/${room}`);
    expect(seen.filter((other) => other !== "base" && !allowed.includes(other))).toEqual([]);
  },
);

test("base imports no other folder", () => {
  expect([enforced("base"), imported("harness/base")]).toEqual([[], []]);
});

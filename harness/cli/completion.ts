import type { Argument, Command, Option } from "commander";
import { buildCommand } from "./build-command.ts";
import { COMMANDS } from "./command-table.ts";
import type { CliContext } from "./context.ts";

/** What can stand at a place of the command line. `other` is left to the shell: file names. */
type Values =
  | { readonly kind: "board" }
  | { readonly kind: "choices"; readonly choices: readonly string[] }
  | { readonly kind: "other" };

interface Described {
  /** Words after `lockstep`: ``, `boards`, `boards show`. */
  readonly path: string;
  readonly summary: string;
  readonly subcommands: readonly string[];
  readonly options: readonly {
    readonly flag: string;
    readonly takes?: Values;
    readonly summary: string;
  }[];
  readonly argument: Values;
}

/** Every command with its options and arguments, read off the commands themselves. */
export async function describeCommands(context: CliContext): Promise<Described[]> {
  const out: Described[] = [];
  const walk = (command: Command, path: string): void => {
    out.push({
      path,
      summary: command.description(),
      subcommands: command.commands.map((sub) => sub.name()),
      options: [...command.options.flatMap(describeOption), HELP],
      argument: describeArguments(command.registeredArguments),
    });
    for (const sub of command.commands) walk(sub, `${path} ${sub.name()}`);
  };
  for (const entry of COMMANDS) {
    walk((await buildCommand(entry, context)).description(entry.summary), entry.name);
  }
  const names = COMMANDS.map(({ name }) => name);
  return [
    {
      path: "",
      summary: "",
      subcommands: [...names, "help"],
      options: [HELP, { flag: "--version", summary: "print the version" }],
      argument: { kind: "other" },
    },
    {
      path: "help",
      summary: "show the help of a command",
      subcommands: [],
      options: [],
      argument: { kind: "choices", choices: names },
    },
    ...out,
  ];
}

const HELP = { flag: "--help", summary: "show help" } as const;

function describeOption(option: Option): Described["options"] {
  const takes =
    option.required || option.optional ? valuesOf(option.flags, option.argChoices) : undefined;
  const flag = option.long ?? option.short;
  if (flag === undefined || flag === null || option.hidden) return [];
  return [{ flag, summary: option.description, ...(takes && { takes }) }];
}

function describeArguments(args: readonly Argument[]): Values {
  return args
    .map((argument) => valuesOf(argument.name(), argument.argChoices))
    .reduce<Values>((first, values) => (first.kind === "other" ? values : first), {
      kind: "other",
    });
}

function valuesOf(name: string, choices: readonly string[] | undefined): Values {
  if (choices !== undefined) return { kind: "choices", choices };
  return /\bboard\b/.test(name.replaceAll(/--[\w-]+/g, "")) ? { kind: "board" } : { kind: "other" };
}

/** A word as a shell literal. */
const quoted = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** The completion script for `shell`, made from `commands`. */
export function completionScript(shell: "bash" | "zsh", commands: readonly Described[]): string {
  return shell === "bash" ? bashScript(commands) : zshScript(commands);
}

/** `case` arms that put what `select` returns for each command into effect. */
function arms(
  commands: readonly Described[],
  select: (command: Described) => string | undefined,
): string {
  return commands
    .flatMap((command) => {
      const body = select(command);
      return body === undefined ? [] : [`    ${quoted(command.path)}) ${body} ;;`];
    })
    .join("\n");
}

function optionArms(commands: readonly Described[], select: (values: Values) => string): string {
  return commands
    .flatMap(({ path, options }) =>
      options.flatMap(({ flag, takes }) =>
        takes === undefined ? [] : [`    ${quoted(`${path} ${flag}`)}) ${select(takes)} ;;`],
      ),
    )
    .join("\n");
}

function knownPaths(commands: readonly Described[]): string {
  return commands
    .filter(({ path }) => path !== "")
    .map(({ path }) => quoted(path))
    .join("|");
}

function bashValues(of: Values): string {
  if (of.kind === "board")
    return `candidates=$("\${COMP_WORDS[0]}" boards list --names 2>/dev/null)`;
  return of.kind === "choices" ? `candidates=${quoted(of.choices.join(" "))}` : "candidates=";
}

function bashScript(commands: readonly Described[]): string {
  return `# bash completion of lockstep
_lockstep() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]}
  local path= word candidates= i
  COMPREPLY=()
  if [[ $cur == = ]]; then cur=
  elif [[ $prev == = ]]; then prev=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    [[ $word == -- ]] && return
    case "\${path:+$path }$word" in
    ${knownPaths(commands)}) path="\${path:+$path }$word" ;;
    esac
  done
  case "$path $prev" in
${optionArms(commands, bashValues)}
    *)
      if [[ $cur == -* ]]; then
        case "$path" in
${arms(commands, ({ options }) => `candidates=${quoted(options.map(({ flag }) => flag).join(" "))}`)}
        esac
      else
        case "$path" in
${arms(commands, ({ subcommands, argument }) =>
  subcommands.length > 0 ? `candidates=${quoted(subcommands.join(" "))}` : bashValues(argument),
)}
        esac
      fi ;;
  esac
  COMPREPLY=($(compgen -W "$candidates" -- "$cur"))
}
complete -o bashdefault -o default -F _lockstep lockstep
`;
}

function zshItem(name: string, summary: string): string {
  return quoted(`${name.replaceAll(":", "\\\\:")}:${summary}`);
}

function zshValues(of: Values): string {
  if (of.kind === "board") {
    return 'candidates=(${(f)"$("${words[1]}" boards list --names 2>/dev/null)"})';
  }
  return of.kind === "choices" ? `candidates=(${of.choices.map(quoted).join(" ")})` : "files=1";
}

function zshScript(commands: readonly Described[]): string {
  const summaries = new Map(commands.map(({ path, summary }) => [path, summary]));
  return `#compdef lockstep
_lockstep() {
  local where='' word files=0 i
  local cur="\${words[CURRENT]}" prev="\${words[CURRENT-1]}"
  local -a candidates described
  for ((i = 2; i < CURRENT; i++)); do
    word="\${words[i]}"
    if [[ "$word" == -- ]]; then _normal; return; fi
    case "\${where:+$where }$word" in
    ${knownPaths(commands)}) where="\${where:+$where }$word" ;;
    esac
  done
  case "$where $prev" in
${optionArms(commands, zshValues)}
    *)
      if [[ "$cur" == -* ]]; then
        case "$where" in
${arms(commands, ({ options }) => `described=(${options.map(({ flag, summary }) => zshItem(flag, summary)).join(" ")})`)}
        esac
      else
        case "$where" in
${arms(commands, ({ path, subcommands, argument }) =>
  subcommands.length > 0
    ? `described=(${subcommands.map((name) => zshItem(name, summaries.get(`${path} ${name}`.trim()) ?? "")).join(" ")})`
    : zshValues(argument),
)}
        esac
      fi ;;
  esac
  (( \${#described} )) && _describe lockstep described
  (( \${#candidates} )) && compadd -- "\${candidates[@]}"
  (( files )) && _files
}
if [[ "\${funcstack[1]}" == _lockstep ]]; then _lockstep "$@"; else compdef _lockstep lockstep; fi
`;
}

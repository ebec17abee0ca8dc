import { Argument, Command } from "commander";
import { completionScript, describeCommands } from "../completion.ts";
import type { CommandBuilder } from "../context.ts";
import { examples } from "../help.ts";

const SHELLS = ["bash", "zsh"] as const;

export const build: CommandBuilder = (context) => {
  const command = new Command("completion")
    .description("Print a script that completes commands, options and board names.")
    .addArgument(new Argument("<shell>", "the shell").choices(SHELLS))
    .action(async (shell: (typeof SHELLS)[number]) => {
      context.out(completionScript(shell, await describeCommands(context)));
    });
  return examples(command, [
    ["source <(lockstep completion bash)", "in ~/.bashrc"],
    ["source <(lockstep completion zsh)", "in ~/.zshrc, after compinit"],
  ]);
};

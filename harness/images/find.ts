import type { PreparedImage } from "./model.ts";
import { loadRecipe } from "./recipe.ts";
import { findByRecipe } from "./store.ts";

/**
 * The image called `name` as `lockstep prepare` left it, or undefined if it must be made (again,
 * after its recipe changed). Asks no network and starts no program. Throws UsageError for an
 * unknown name.
 */
export async function findPrepared(
  name: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<PreparedImage | undefined> {
  const { hash } = await loadRecipe(name);
  return await findByRecipe(env, name, hash);
}

import { messageOf, type Progress } from "../base/index.ts";

/** Shows `work` as a stage, done with the remark that it returns or failed with the error's message. */
export async function inStage<T>(
  progress: Progress,
  title: string,
  work: () => Promise<T>,
  remark: (result: T) => string,
): Promise<T> {
  const stage = progress.stage(title);
  try {
    const result = await work();
    stage.done(remark(result));
    return result;
  } catch (error) {
    stage.failed(messageOf(error));
    throw error;
  }
}

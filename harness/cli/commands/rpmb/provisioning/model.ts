import { InfrastructureError, UsageError } from "../../../../base/index.ts";
import { Linux, teecInitializeContext } from "../../../../normal-world/index.ts";
import { resultName } from "../../../../optee-abi/index.ts";
import { createEmulated, type RpmbBuildOptions } from "../../../../platform/index.ts";
import { channelTo, type EmmcRpmb } from "../../../../rpmb/index.ts";
import { STORAGE_CMD, storageTa } from "../../../../secure-world/index.ts";
import type { ProvisionFlags } from "./flags.ts";
import { type SessionWork, withStateFile } from "./session.ts";
import type { Subject } from "./subject.ts";

/** Route write-key-build on an emulated part: Lockstep's model of such a build is what programs it. */
export async function onModel<T>(
  flags: ProvisionFlags,
  subject: Subject,
  work: SessionWork<T>,
): Promise<T> {
  const build = modelBuild(flags, subject);
  return await withStateFile(flags, subject, async (device, where) => {
    const channel = channelTo(device);
    return await work({
      where,
      emulated: true,
      sizeMultiplier: device.sizeMultiplier,
      live: { channel, cid: async () => Buffer.from(device.cid).toString("hex") },
      tools: {},
      act: async () => firstUse(device, build),
    });
  });
}

function modelBuild(flags: ProvisionFlags, { view }: Subject): RpmbBuildOptions {
  const { build } = view;
  const source =
    flags.source ??
    (build.testKey === true
      ? "test-key"
      : (build.huk ?? (flags.huk === undefined ? "zero-stub" : "given")));
  if (source !== "zero-stub" && source !== "test-key") {
    throw new UsageError("the model of a write-key build has published keys only", {
      ...(view.file !== "" && { where: view.file }),
      expected: "--source zero-stub or test-key",
      next: "For any other hardware unique key, take route offline: it gives the part the same key.",
    });
  }
  return {
    writeKey: true,
    testKey: source === "test-key",
    compat: flags.compat && (build.compat ?? true),
    keyReady: view.lifeCycle !== "open",
  };
}

/** A client of the model's storage TA makes OP-TEE use RPMB storage for the first time. */
function firstUse(device: EmmcRpmb, rpmb: RpmbBuildOptions): string {
  const platform = createEmulated({ conduit: "direct", seed: 1, rpmb });
  const kernel = new Linux({
    name: "the emulated board",
    conduit: platform.addGuest().conduit,
    scheduler: platform.scheduler,
    tas: platform.tas,
    supplicant: { rpmb: { devices: new Map([[0, device]]) } },
  });
  const result = platform.scheduler.run("first use", clearStorage(kernel));
  const name = resultName(result) ?? `0x${result.toString(16)}`;
  if (result !== 0) {
    throw new InfrastructureError("the model's OP-TEE could not use its storage", {
      seen: name,
    });
  }
  return "the model of that build programmed it at its first use of storage";
}

function* clearStorage(kernel: Linux) {
  const status = yield* kernel.boot();
  if (status < 0) throw new InfrastructureError("the emulated board does not start");
  const { result, context } = yield* teecInitializeContext(kernel.process());
  if (context === undefined) return result;
  const opened = yield* context.openSession(storageTa.uuid);
  if (opened.session === undefined) return opened.result;
  const cleared = yield* context.invokeCommand(opened.session, STORAGE_CMD.CLEAR_STORAGE);
  yield* context.closeSession(opened.session);
  return cleared.result;
}

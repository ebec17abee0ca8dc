import { TEEC } from "../../optee-abi/index.ts";
import type { TaParam, TaParams } from "../param.ts";
import { PTA_DEFAULT_FLAGS, TA_FLAG, type TrustedApplication } from "../tas/index.ts";

/** A pseudo-TA that hands its parameters to the test. */
export class ProbeTa {
  static readonly uuid = "11111111-2222-3333-4444-555555555555";
  params: TaParams | undefined;
  /** What the next invocation does with its parameters, and its result. */
  next: (params: TaParams) => number = () => TEEC.TEEC_SUCCESS;
  readonly client: { login: number; uuid: string } = { login: -1, uuid: "" };

  readonly ta: TrustedApplication = {
    name: "probe",
    uuid: ProbeTa.uuid,
    flags: PTA_DEFAULT_FLAGS | TA_FLAG.CONCURRENT,
    stackSize: 0,
    dataSize: 0,
    imageSize: 0,
    instantiate: () => ({
      open: (tee, params) => {
        Object.assign(this.client, tee.client);
        this.params = params;
        return this.next(params);
      },
      invoke: (_tee, _command, params) => {
        this.params = params;
        return this.next(params);
      },
    }),
  };

  param(index: number): TaParam {
    const param = this.params?.[index];
    if (param === undefined) throw new Error("the TA was not reached");
    return param;
  }
}

import { spawnSync } from "node:child_process";

/** Why tests with QEMU cannot run on this machine, or undefined if they can. */
export function noQemuReason(): string | undefined {
  return spawnSync("qemu-system-aarch64", ["--version"]).status === 0
    ? undefined
    : "qemu-system-aarch64 is not installed";
}

/** A64 firmware for `-bios` on QEMU's virt machine, as words. */
function firmware(words: readonly number[]): Buffer {
  // QEMU wants no particular size; a page is plenty.
  const image = Buffer.alloc(4096);
  for (const [index, word] of words.entries()) image.writeUInt32LE(word >>> 0, index * 4);
  return image;
}

/** Sends `blocks` times 65536 characters, `0` to `y` over and over, to the first UART, then idles. */
export function flood(blocks: number): Buffer {
  return firmware([
    0xd2a12000, // mov  x0, #0x09000000
    0x52800601, // mov  w1, #'0'
    0x52a00002 | (blocks << 5), // mov  w2, #blocks, lsl #16
    0x39000001, // strb w1, [x0]
    0x11000421, // add  w1, w1, #1
    0x7101e83f, // cmp  w1, #'z'
    0x54000043, // b.lo +8
    0x52800601, // mov  w1, #'0'
    0x71000442, // subs w2, w2, #1
    0x54ffff41, // b.ne back to strb
    0x14000000, // b    .
  ]);
}

/** Prints `!` and then asks PSCI, which QEMU answers when nothing runs at EL3, for `call`. */
export function psci(call: "off" | "reset"): Buffer {
  const low = call === "off" ? 8 : 9;
  return firmware([
    0xd2a12000, // mov  x0, #0x09000000
    0x52800421, // mov  w1, #'!'
    0x39000001, // strb w1, [x0]
    0x52b08000, // mov  w0, #0x84000000
    0x72800000 | (low << 5), // movk w0, #low
    0xd4000002, // hvc  #0
    0x14000000, // b    .
  ]);
}

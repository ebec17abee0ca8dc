import type { HazardRule } from "./hazard.ts";
import { isImx, writesByTool } from "./situation.ts";

/** What is true of a route. */
export const ROUTE_HAZARDS: readonly HazardRule[] = [
  {
    id: "key-not-ready",
    sources: ["RPMB-3.2.WHEN", "RPMB-3.2.IMX"],
    find: (situation) => {
      const { route, board } = situation;
      if (route !== "write-key-build" || !isImx(situation) || board.lifeCycle === "closed") {
        return undefined;
      }
      const open = board.lifeCycle === "open";
      return {
        severity: open ? "stop" : "caution",
        what: `on an open i.MX8M with CFG_IMX_SNVS, the default, plat_rpmb_key_is_ready says no: OP-TEE writes nothing and answers BAD_STATE (0xffff0007) to every use of its storage${open ? "" : "; whether this one is open is not known"}`,
        mend: "Close the SoC first; or, on a unit for development, use another route, or a build with CFG_IMX_SNVS=n.",
      };
    },
  },
  {
    id: "no-write-key",
    sources: ["RPMB-4.WRITE_KEY", "RPMB-5.2.NOT_PROGRAMMED", "RPMB-5.1.3"],
    find: ({ route, board }) =>
      route === "write-key-build" && board.build.writeKey === false
        ? {
            severity: "stop",
            what: `the board's OP-TEE is built without CFG_RPMB_WRITE_KEY: it never programs a part${board.build.routing === "kernel" ? ", and passes over a blank one where the kernel carries its frames" : ""}`,
            mend: "Boot a build with CFG_RPMB_WRITE_KEY=y, described by a board file of its own, or use another route.",
          }
        : undefined,
  },
  {
    id: "write-key-unknown",
    sources: ["RPMB-4.WRITE_KEY"],
    find: ({ route, board }) =>
      route === "write-key-build" && board.build.writeKey === undefined
        ? {
            severity: "caution",
            what: "whether the board's OP-TEE is built with CFG_RPMB_WRITE_KEY is not known",
            mend: "Write `rpmb: { optee: { write_key: true } }` to the board file of that build.",
          }
        : undefined,
  },
  {
    id: "no-kernel-probing",
    sources: ["RPMB-4.WRITE_KEY", "RPMB-5.1.2"],
    find: ({ route }) =>
      route === "write-key-build"
        ? {
            severity: "caution",
            what: "CFG_RPMB_WRITE_KEY also switches the probing of the kernel's parts off: this build reaches the part through tee-supplicant only, and programs every blank part that it meets",
            mend: "Replace it by a build with CFG_RPMB_WRITE_KEY=n once the part is programmed; never ship it.",
          }
        : undefined,
  },
  {
    id: "kernel-routing",
    sources: ["RPMB-5.1.3", "RPMB-7.1"],
    find: (situation) =>
      writesByTool(situation) && situation.board.build.routing === "kernel"
        ? {
            severity: "note",
            what: "where the kernel carries the frames, OP-TEE passes over a blank part and answers as if there were none; it takes this one at its next start",
            mend: "Restart the board after programming, then run `lockstep rpmb verify`.",
          }
        : undefined,
  },
  {
    id: "supplicant-emulation",
    sources: ["RPMB-6.2.STATE", "RPMB-6.2.CID"],
    find: (situation) => {
      const { route, board } = situation;
      const { supplicantEmulation: emulates, routing } = board.build;
      const swallows = route === "write-key-build";
      // A write-key build goes through the supplicant, whatever the board's usual build does.
      if (emulates === false || (routing === "kernel" && !swallows)) return undefined;
      if (emulates === undefined) {
        return {
          severity: "caution",
          what: swallows
            ? "a tee-supplicant that was built with RPMB_EMU, its default, swallows the key: OP-TEE programs a card in that process's memory and the part stays blank"
            : "a tee-supplicant that was built with RPMB_EMU, its default, never shows this part to OP-TEE",
          mend: "Build tee-supplicant with RPMB_EMU=0; write `rpmb: { optee: { rpmb_emu: false } }` to the board file.",
        };
      }
      return {
        severity: swallows ? "stop" : "danger",
        what: swallows
          ? "the board's tee-supplicant has RPMB_EMU built in and would swallow the key: OP-TEE programs a card in its memory, and the part stays blank"
          : "the board's tee-supplicant has RPMB_EMU built in: OP-TEE will use a card in its memory and never this part",
        mend: "Build tee-supplicant with RPMB_EMU=0.",
      };
    },
  },
  {
    id: "log-prints-key",
    sources: ["RPMB-4.DEBUG_DATA", "RPMB-4.WRITE_KEY"],
    find: ({ route }) =>
      route === "write-key-build"
        ? {
            severity: "danger",
            what: "a write-key build at log level 3 prints the key on the secure console, and CFG_RPMB_FS_DEBUG_DATA prints it in its frame; whoever else records that console has the key",
            mend: "Build it with CFG_TEE_CORE_LOG_LEVEL=2 or lower and CFG_RPMB_FS_DEBUG_DATA=n. Lockstep overwrites the key in what it records itself.",
          }
        : undefined,
  },
  {
    id: "key-not-known",
    sources: ["RPMB-3.1.IMX_CAAM"],
    find: ({ route, key }) =>
      route === "write-key-build" && key === undefined
        ? {
            severity: "caution",
            what: "Lockstep does not know the hardware unique key and so not the key: afterwards it can say that the part has one, but not that it is the right one",
            mend: "Give the hardware unique key with --huk, or prove the key by what OP-TEE stores and reads again after a restart.",
          }
        : undefined,
  },
  {
    id: "key-missing",
    sources: ["RPMB-3.1"],
    find: ({ route, key, database }) => {
      if (route === "write-key-build" || key !== undefined) return undefined;
      if (route === "key-service") {
        return {
          severity: "stop",
          what: "the key was not read out",
          mend: "Run the plan against the running board, without --offline.",
        };
      }
      return route === "offline"
        ? {
            severity: "stop",
            what: "there is nothing to derive from",
            mend: "Give --source, and --huk where the source needs a value; or write `rpmb: { optee: { huk: … } }` to the board file.",
          }
        : {
            severity: "stop",
            what:
              database === undefined
                ? "no database was given"
                : `the database has no key for this part: ${database}`,
            mend: "Name the file that `lockstep rpmb derive --batch` wrote for this lot with --database.",
          };
    },
  },
  {
    id: "key-file-on-board",
    sources: ["RPMB-8.WRITE_KEY"],
    find: (situation) =>
      writesByTool(situation) && situation.part?.emulated !== true
        ? {
            severity: "note",
            what: "mmc-utils takes the key from a file on the board; Lockstep gives it on standard input over SSH instead, so that it is in no file and in no list of processes",
            mend: "Do the same by hand: `mmc rpmb write-key DEVICE -`, and no copy of the key in the board's /tmp.",
          }
        : undefined,
  },
  {
    id: "no-ssh",
    sources: ["RPMB-8.WRITE_KEY"],
    find: (situation) =>
      writesByTool(situation) && situation.part?.emulated !== true && !situation.board.ssh
        ? {
            severity: "stop",
            what: "the board has no SSH: a key is never typed on a console, where it is recorded",
            mend: "Add an `ssh` section to the board file.",
          }
        : undefined,
  },
  {
    id: "no-mmc-utils",
    sources: ["RPMB-8.WRITE_KEY"],
    find: (situation) =>
      writesByTool(situation) && situation.tools.mmc === false
        ? {
            severity: "stop",
            what: "mmc-utils is not on the board",
            mend: "Install the package mmc-utils there.",
          }
        : undefined,
  },
  {
    id: "no-key-service",
    sources: ["RPMB-3.1"],
    find: ({ route, board, tools }) =>
      route === "key-service" && (board.build.keyService === false || tools.keyClient === false)
        ? {
            severity: "stop",
            what:
              tools.keyClient === false
                ? "the key-read client is not on the board"
                : "the board's OP-TEE is built without the key-read service",
            mend: "Boot an image with it: `lockstep prepare` builds it under CFG_INSECURE=y only.",
          }
        : undefined,
  },
  {
    id: "key-service-left",
    sources: ["RPMB-9.KEY_UNREADABLE"],
    find: ({ route }) =>
      route === "key-service"
        ? {
            severity: "danger",
            what: "an OP-TEE with the key-read service gives the key to root of the board's Linux, whoever that is",
            mend: "Boot it on no network but the lab's, and replace it once the part is programmed; it is built under CFG_INSECURE=y only and must never ship.",
          }
        : undefined,
  },
  {
    id: "reset-fat",
    sources: ["RPMB-4.RESET_FAT"],
    find: ({ board }) =>
      board.build.resetFat === true
        ? {
            severity: "caution",
            what: "the board's OP-TEE has CFG_RPMB_RESET_FAT: it forgets everything in RPMB at the first use after each start",
            mend: "Use a build without it once the part holds what matters.",
          }
        : undefined,
  },
];

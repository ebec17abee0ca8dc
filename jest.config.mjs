const unit = { rootDir: ".", transform: {}, testEnvironment: "node" };

export default {
  rootDir: ".",
  coverageProvider: "v8",
  projects: [
    {
      ...unit,
      displayName: "unit",
      testMatch: ["<rootDir>/dist/{harness,reports,ci}/**/*.test.js"],
      testPathIgnorePatterns: ["\\.board\\.test\\.js$"],
    },
    {
      ...unit,
      displayName: "boards",
      testMatch: ["<rootDir>/dist/harness/**/*.board.test.js"],
      testPathIgnorePatterns: [
        "/(?:xen|agent-imx|linux-rpmb|provision|key-service)\\.board\\.test\\.js$",
      ],
    },
    {
      // Those that need a QEMU with the machine imx8mp-evk, and no image.
      ...unit,
      displayName: "imx",
      testMatch: ["<rootDir>/dist/harness/**/agent-imx.board.test.js"],
    },
    {
      // Those that need the image qemu-xen.
      ...unit,
      displayName: "xen",
      testMatch: ["<rootDir>/dist/harness/**/xen.board.test.js"],
    },
    {
      // Those that need a board with the key-read service, named by LOCKSTEP_TEST_KEY_BOARD.
      ...unit,
      displayName: "key-service",
      testMatch: ["<rootDir>/dist/harness/**/key-service.board.test.js"],
    },
    {
      // Those that need the image qemu-virt-rpmb.
      ...unit,
      displayName: "rpmb",
      testMatch: ["<rootDir>/dist/harness/**/{linux-rpmb,provision}.board.test.js"],
    },
    {
      ...unit,
      displayName: "suites",
      // An installed package lies in a folder that Jest passes over by itself.
      roots: ["<rootDir>/dist/suites"],
      haste: { retainAllFiles: true },
      testPathIgnorePatterns: [],
      testMatch: ["<rootDir>/dist/suites/**/*.test.js"],
      testEnvironment: "<rootDir>/dist/harness/run/jest-environment.js",
    },
  ],
};

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
    },
    {
      ...unit,
      displayName: "suites",
      testMatch: ["<rootDir>/dist/suites/**/*.test.js"],
      testEnvironment: "<rootDir>/dist/harness/run/jest-environment.js",
      // The harness has a deadline for everything that a target does; Jest must not have another.
      testTimeout: 2_000_000_000,
    },
  ],
};

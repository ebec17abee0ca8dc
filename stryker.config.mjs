/**
 * `npm run mutation`: how good are the tests of harness/mediator? Mutates the compiled mediator and
 * runs its unit tests against each mutant; docs/quality.md has the figures and explains what
 * survives. One file: npm run mutation -- --mutate dist/harness/mediator/optee/walk.js
 */
export default {
  mutate: [
    "dist/harness/mediator/**/*.js",
    "!dist/harness/mediator/**/*.test.js",
    "!dist/harness/mediator/testkit/**",
    // Types and re-exports only.
    "!dist/harness/mediator/{index,contract,backend}.js",
    // A measurement, not the product.
    "!dist/harness/mediator/bench.js",
  ],
  testRunner: "jest",
  // The tests are ES modules.
  testRunnerNodeArgs: ["--experimental-vm-modules", "--no-warnings"],
  jest: {
    projectType: "custom",
    enableFindRelatedTests: false,
    config: {
      projects: [],
      roots: ["<rootDir>/dist/harness"],
      transform: {},
      testEnvironment: "./dist/ci/mutation-environment.js",
      testMatch: ["<rootDir>/dist/harness/mediator/testkit/mutation-tests.js"],
    },
  },
  coverageAnalysis: "perTest",
  concurrency: 2,
  timeoutMS: 4000,
  // What the tests need and no more is copied for each worker.
  ignorePatterns: [
    "**",
    "!dist/harness/{base,machine,optee-abi,mediator}/**/*.js",
    "!dist/ci/mutation-environment.js",
    "!jest.config.mjs",
  ],
  tempDirName: ".lockstep/mutation",
  reporters: ["clear-text", "progress", "html", "json"],
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false },
  htmlReporter: { fileName: "lockstep-out/mutation/index.html" },
  jsonReporter: { fileName: "lockstep-out/mutation/mutation.json" },
  thresholds: { high: 95, low: 90, break: 90 },
};

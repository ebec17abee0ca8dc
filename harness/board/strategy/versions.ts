/** How each part of the boot chain names its version when it starts. */
const VERSIONS: readonly { readonly name: string; readonly pattern: RegExp }[] = [
  { name: "tf-a", pattern: /^NOTICE: {2}BL(?:1|31): (v\d[^:]*(?::\S+)?):?$/ },
  { name: "optee", pattern: /\bOP-TEE version: (\S+)/ },
  { name: "u-boot", pattern: /^U-Boot (?:SPL )?(\d{4}\.\d\S*)/ },
  { name: "xen", pattern: /^(?:\(XEN\) )?Xen version (\S+)/ },
  { name: "linux", pattern: /^(?:\[ *\d+\.\d+\] )?Linux version (\d\S*)/ },
];

/** The version that a console line announces, if it announces one. */
export function versionIn(text: string): { name: string; version: string } | undefined {
  for (const { name, pattern } of VERSIONS) {
    const version = pattern.exec(text)?.[1];
    if (version !== undefined) return { name, version };
  }
  return undefined;
}

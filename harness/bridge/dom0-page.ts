/** The pages of boards/bridge/dom0.s beside those of its mailbox: offsets in bytes from their start. */
export const DOM0_PAGE = {
  size: 0x2000,
  /** A number of the host's, and behind it the page's own address: little-endian 64-bit words. */
  announcement: 0x7e0,
  announcementSize: 16,
  /** Where a kernel may begin, in bytes: the arm64 boot protocol puts it on such a boundary. */
  boundary: 2 * 1024 * 1024,
} as const;

/**
 * A program for the far end of a pty: TF-A, U-Boot and Linux as a console shows them, then a real
 * shell. Arguments: scenario, and a FIFO whose writing end is the power switch.
 */
export const BOOT_SIMULATION = String.raw`
import os, select, sys, termios, time, tty
scenario, fifo = sys.argv[1:3]
cooked = termios.tcgetattr(0)
tty.setraw(0)
out = lambda text: os.write(1, text.encode())
open(fifo).read()
if scenario == "silent":
    time.sleep(1000)
if scenario == "standing":
    out("U-Boot 2025.01 (Jan 01 2025)\r\n\r\n=> ")
    line = ""
    while not line.endswith("reset\r"):
        key = os.read(0, 1).decode()
        out("<INTERRUPT>\r\n=> " if key == "\x03" else key)
        line += key
if scenario == "hung":
    for key in iter(lambda: os.read(0, 1), b"t"):
        pass
    time.sleep(0.5)
out("NOTICE:  Booting Trusted Firmware\r\nNOTICE:  BL1: v2.12.1(release):\r\n")
out("U-Boot 2025.01 (Jan 01 2025)\r\n\r\n")
if scenario == "loop":
    out("NOTICE:  Booting Trusted Firmware\r\n")
    time.sleep(1000)
out("Hit any key to stop autoboot:  1 ")
if select.select([0], [], [], 0.7)[0]:
    line = ""
    out("\b\b\b 0 \r\n=> ")
    while True:
        key = os.read(0, 1).decode()
        if key == "\x03":
            line = ""
            out("<INTERRUPT>\r\n=> ")
        elif key == "\n":
            if line.strip() == "boot":
                break
            line = ""
            out("\r\n=> ")
        else:
            line += key
            out(key)
if scenario == "stuck":
    out("\r\nWrong Image Format for bootm command\r\n=> ")
    time.sleep(1000)
out("\r\nStarting kernel ...\r\n\r\n[    0.000000] Linux version 6.12.0 (gcc) #1 SMP\r\n")
if scenario == "panic":
    out("[    1.234567] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n")
    time.sleep(1000)
termios.tcsetattr(0, termios.TCSANOW, cooked)
if scenario == "login":
    for question, answer in (("lockstep login: ", "root"), ("Password: ", "open sesame")):
        out(question)
        if sys.stdin.readline().strip() != answer:
            out("Login incorrect\r\n")
            time.sleep(1000)
if scenario == "late":
    out("lockstep:~# [    2.345678] a kernel line behind the prompt\r\n")
os.environ["PS1"] = "lockstep:~# "
os.execvp("sh", ["sh", "-i"])
`;

// The resident program as a hypervisor's first guest: it stands in place of that guest's kernel, at
// EL1, and answers the mailbox of mailbox.s. Position independent; two pages.
//
// The first page:
//      0x000  header of a Linux arm64 Image, as boot loaders and hypervisors know it
//      0x040  code
//      0x7e0  a number that the host has put into the file, and behind it the page's own address, which
//             is there once the program runs: so it is found in the machine's RAM
//      0x800  request number, operation (1 SMC, 3 load the word at x0, 4 Xen's hypercall whose number is
//             x7) and above its 32 bits a time, x0 to x7
//      0x880  answer number, how it went (0, or ESR_EL1 of the exception), x0 to x7
// The second page: the exception vectors.
//
// With a time of other than 0 the guest's virtual timer fires that many ticks after the request, once: an
// interrupt in the middle of an SMC. Nobody serves it here; it stays masked, and Xen masks the timer.
//
// It runs as it was entered: MMU and data cache off, interrupts masked, on one CPU. All RAM is then
// Device memory to it, so that every access takes effect in order; the words of the mailbox are
// aligned. The caches of the secure world are coherent with it only on an emulator, or when the host
// that reads the RAM is one.

        .arch   armv8-a
        .text
page:
        b       start
        .word   0
        .quad   0                       // offset from a 2 MiB boundary
        .quad   0x2000                  // size in RAM
        .quad   0xa                     // little endian, 4 KiB pages, anywhere in RAM
        .quad   0, 0, 0
        .ascii  "ARM\x64"
        .word   0

start:  adr     x18, page
        add     x19, x18, #0x800        // request
        add     x20, x18, #0x880        // answer
        mov     x21, #0                 // number of the last request
        add     x0, x18, #0x1000
        msr     vbar_el1, x0
        isb
        add     x0, x18, #0x7e8
        stlr    x18, [x0]

poll:   ldar    x22, [x19]
        cmp     x22, x21
        b.ne    request
        yield
        b       poll

request:
        mov     x21, x22
        ldr     x23, [x19, #8]
        lsr     x0, x23, #32
        cmp     x0, #0
        cset    x1, ne
        msr     cntv_tval_el0, x0
        msr     cntv_ctl_el0, x1        // on with a time, off without
        isb
        ldp     x0, x1, [x19, #16]
        ldp     x2, x3, [x19, #32]
        ldp     x4, x5, [x19, #48]
        ldp     x6, x7, [x19, #64]
        cmp     w23, #3
        b.eq    load
        cmp     w23, #4
        b.eq    call
        cmp     w23, #1
        b.ne    done
        smc     #0                      // SMCCC: x0 to x17 may change, the rest is preserved
        b       done
load:   ldr     x0, [x0]
        b       done
call:   mov     x16, x7
        hvc     #0xea1
done:   mov     x23, #0
answer: stp     x0, x1, [x20, #16]
        stp     x2, x3, [x20, #32]
        stp     x4, x5, [x20, #48]
        stp     x6, x7, [x20, #64]
        str     x23, [x20, #8]
        stlr    x21, [x20]
        b       poll

// Whatever it was: the answer says so, with where it came from in x0 and the address in x1.
fault:  mrs     x23, esr_el1
        mrs     x0, elr_el1
        mrs     x1, far_el1
        b       answer

        .org    0x1000
        .rept   16
        b       fault
        .balign 128
        .endr
        .org    0x2000

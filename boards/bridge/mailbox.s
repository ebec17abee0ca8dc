// The resident program of the shared-RAM bridge: it answers a mailbox in RAM that is also a file of
// the host. Position independent; one page. Started by `go ADDRESS`, it returns to the boot loader
// when it is told to.
//
// The page:
//      0x000  code
//      0x800  request number, operation (1 SMC, 2 return to the boot loader) | (microseconds << 32)
//             after which an interrupt is pending during the SMC (timer.s), 0: none; x0 to x7
//      0x880  answer number, 0 or (1) there is no such timer and the SMC was not made, x0 to x7
//      0x900  GICv3 distributor, redistributors; 0 where the host names none
//      0x940  what timer.s keeps
//
// A request is there once its number, written last, differs from the answer's. An answer is there
// once its number, written last, is the request's. All are 64-bit words.

        .arch   armv8-a
        .text
page:
start:  stp     x29, x30, [sp, #-96]!
        stp     x19, x20, [sp, #16]
        stp     x21, x22, [sp, #32]
        stp     x23, x24, [sp, #48]
        stp     x25, x26, [sp, #64]
        stp     x27, x28, [sp, #80]
        adr     x19, page + 0x800       // request
        adr     x20, page + 0x880       // answer
        mrs     x24, daif
        msr     daifset, #3
        mov     x21, #0                 // number of the last request

poll:   ldar    x22, [x19]
        cmp     x22, x21
        b.ne    request
        yield
        b       poll

request:
        mov     x21, x22
        ldr     x23, [x19, #8]
        cmp     w23, #1
        b.ne    leave
        str     xzr, [x20, #8]
        lsr     x23, x23, #32
        cbz     x23, call
        adr     x0, page + 0x940
        ldr     x1, [x0]
        cbnz    x1, arm
        ldp     x1, x2, [x20, #0x80]
        cbz     x1, refuse
        bl      timer_open
        cbz     x0, refuse
arm:    adr     x0, page + 0x940
        mov     x1, x23
        bl      timer_arm
call:   ldp     x0, x1, [x19, #16]
        ldp     x2, x3, [x19, #32]
        ldp     x4, x5, [x19, #48]
        ldp     x6, x7, [x19, #64]
        smc     #0                      // SMCCC: x0 to x17 may change, the rest is preserved
        stp     x0, x1, [x20, #16]
        stp     x2, x3, [x20, #32]
        stp     x4, x5, [x20, #48]
        stp     x6, x7, [x20, #64]
        cbz     x23, done
        mov     x1, x0
        adr     x0, page + 0x940
        bl      timer_disarm
done:   stlr    x21, [x20]
        b       poll

refuse: mov     x0, #1
        str     x0, [x20, #8]
        b       done

leave:  adr     x0, page + 0x940
        bl      timer_close
        msr     daif, x24
        stlr    x21, [x20]
        mov     x0, #0
        ldp     x27, x28, [sp, #80]
        ldp     x25, x26, [sp, #64]
        ldp     x23, x24, [sp, #48]
        ldp     x21, x22, [sp, #32]
        ldp     x19, x20, [sp, #16]
        ldp     x29, x30, [sp], #96
        ret

        .include "timer.s"

// The agent of the bridge: a program that a boot loader's `go` runs, and that speaks binary frames on
// the boot loader's UART until it is told to leave. Position independent. What it touches it puts
// back: registers, interrupt masks, the timer and the GIC. It changes no setting of the UART.
//
// A frame, little-endian:
//      0       sync: 0xa7 to the board, 0x7a from it
//      1       length of the payload, 16 bits, at most MAX_PAYLOAD
//      3       sequence, 16 bits
//      5       payload
//      5 + n   CRC-32 of everything before
//
// A request's payload is operations, one after the other; the answer's is a status and their results.
// A request with the sequence of the last one is not carried out: its answer is sent again. What is
// no frame is answered, once the line is silent, with status 0xff and sequence 0.
//
//      1 INFO                                      version, exception level, MAX_PAYLOAD (16 bits),
//                                                  counter frequency (32 bits), address (64 bits)
//      2 READ      offset 32, length 16            packed bytes
//      3 WRITE     offset 32, length 16, packed bytes
//      4 CHECKSUMS offset 32, size 32, count 16    CRC-32 of each of so many blocks
//      5 FILL      offset 32, length 32, value 8
//      6 SMC       number 8, registers             registers
//      7 SMC_INTERRUPTED  microseconds 32, number 8, registers     registers
//      8 LAST_SMC                                  number 8, registers
//      9 LEAVE
//
// Offsets count from the start of the window. An SMC with the number of the last one is not made
// again. Registers are x0 to x7: eight nibbles, x0 the lowest, that say how many bytes of each follow;
// 15 in the answer of an SMC: as it went in. Packed bytes: a control byte c below 128 is followed by
// c + 1 bytes; one from 128 on by a byte that stands for c - 125 of it.
//
// Status: 0, or why the operation behind the last result, and all after it, were not carried out:
// 1 not one of these, 2 outside the window, 3 the answer has no room, 4 there is no such timer.

        .arch   armv8-a

        .equ    VERSION, 1
        .equ    MAX_PAYLOAD, 0x1200
        .equ    SYNC_REQUEST, 0xa7
        .equ    SYNC_ANSWER, 0x7a
        .equ    HEAD, 5

        // 64-bit words that the host fills in before the start.
        .equ    CONFIG, 0xf00
        .equ    C_UART_KIND, 0          // 1 PL011, 2 i.MX
        .equ    C_UART, 8
        .equ    C_WATCHDOG, 16          // i.MX; 0: none
        .equ    C_DISTRIBUTOR, 24       // GICv3; 0: none
        .equ    C_REDISTRIBUTOR, 32
        .equ    C_WINDOW, 40            // address
        .equ    C_WINDOW_SIZE, 48       // bytes
        .equ    C_GAP, 56               // milliseconds of silence that end a frame
        .equ    C_SEQUENCE, 64          // that counts as the last one
        .equ    C_NUMBER, 72            // that counts as the last SMC's

        // Memory behind the code.
        .equ    TABLE, 0x1000           // of the CRC, 256 words
        .equ    STATE, 0x1400
        .equ    S_LENGTH, 0             // of the last answer's payload
        .equ    S_LEAVING, 8
        .equ    S_PERIOD, 16            // microseconds; 0: no interrupt
        .equ    S_IN, 64                // x0 to x7 of the last SMC
        .equ    S_OUT, 128
        .equ    S_TIMER, 192            // what timer.s keeps
        .equ    COMPLAINT, 0x1600       // a frame
        .equ    REQUEST, 0x1800
        .equ    ANSWER, 0x2c00

        .equ    MALFORMED, 1
        .equ    OUTSIDE, 2
        .equ    NO_ROOM, 3
        .equ    NO_TIMER, 4
        .equ    NO_FRAME, 0xff

// Throughout: x19 state, x20 config, x21 UART, x22 its driver, x27 ticks of the gap, x28 when the
// watchdog was served. While a request is carried out: x23 the next byte of it, x24 its end, x25
// where the answer goes on, x26 where it must end.

        .text
page:
start:  stp     x29, x30, [sp, #-112]!
        stp     x18, x19, [sp, #16]
        stp     x20, x21, [sp, #32]
        stp     x22, x23, [sp, #48]
        stp     x24, x25, [sp, #64]
        stp     x26, x27, [sp, #80]
        mrs     x0, daif
        stp     x28, x0, [sp, #96]
        msr     daifset, #3
        adr     x19, page + STATE
        adr     x20, page + CONFIG
        ldr     x21, [x20, #C_UART]
        adr     x22, pl011
        ldr     x0, [x20, #C_UART_KIND]
        adr     x1, imx_uart
        cmp     x0, #2
        csel    x22, x1, x22, eq
        mrs     x0, cntfrq_el0
        ldr     x1, [x20, #C_GAP]
        mul     x0, x0, x1
        mov     x1, #1000
        udiv    x27, x0, x1
        bl      serve
        stp     xzr, xzr, [x19, #S_LENGTH]
        str     xzr, [x19, #S_TIMER]
        bl      make_table

next:   bl      receive
        tbnz    x0, #63, complain
        adr     x23, page + REQUEST + HEAD
        add     x24, x23, x0
        ldrb    w0, [x23, #-2]
        ldrb    w1, [x23, #-1]
        orr     w0, w0, w1, lsl #8
        ldr     x1, [x20, #C_SEQUENCE]
        cmp     x0, x1
        b.eq    answer
        str     x0, [x20, #C_SEQUENCE]
        adr     x25, page + ANSWER + HEAD
        add     x26, x25, #MAX_PAYLOAD >> 12, lsl #12
        add     x26, x26, #MAX_PAYLOAD & 0xfff
        strb    wzr, [x25], #1

operation:
        cmp     x23, x24
        b.hs    finish
        ldrb    w0, [x23], #1
        cmp     w0, #6
        b.eq    op_smc
        cmp     w0, #7
        b.eq    op_smc_interrupted
        cmp     w0, #3
        b.eq    op_write
        cmp     w0, #2
        b.eq    op_read
        cmp     w0, #4
        b.eq    op_checksums
        cmp     w0, #5
        b.eq    op_fill
        cmp     w0, #8
        b.eq    op_last_smc
        cmp     w0, #1
        b.eq    op_info
        cmp     w0, #9
        b.eq    op_leave
malformed:
        mov     w0, #MALFORMED
refuse: adr     x1, page + ANSWER + HEAD
        strb    w0, [x1]
finish: adr     x0, page + ANSWER + HEAD
        sub     x0, x25, x0
        str     x0, [x19, #S_LENGTH]
answer: adr     x0, page + ANSWER
        ldr     x1, [x19, #S_LENGTH]
        ldr     x2, [x20, #C_SEQUENCE]
        bl      transmit
        ldr     x0, [x19, #S_LEAVING]
        cbz     x0, next

        add     x9, x22, #8
        blr     x9
        add     x0, x19, #S_TIMER
        bl      timer_close
        ldp     x28, x1, [sp, #96]
        msr     daif, x1
        mov     x0, #0
        ldp     x26, x27, [sp, #80]
        ldp     x24, x25, [sp, #64]
        ldp     x22, x23, [sp, #48]
        ldp     x20, x21, [sp, #32]
        ldp     x18, x19, [sp, #16]
        ldp     x29, x30, [sp], #112
        ret

// Nothing is said before whoever is sending has stopped.
complain:
        mov     x0, x27
        bl      await
        tbz     w0, #31, complain
        adr     x0, page + COMPLAINT
        mov     w1, #NO_FRAME
        strb    w1, [x0, #HEAD]
        mov     x1, #1
        mov     x2, #0
        bl      transmit
        b       next

op_info:
        mov     x0, #VERSION
        mov     x1, #1
        bl      put
        mrs     x0, currentel
        lsr     x0, x0, #2
        mov     x1, #1
        bl      put
        mov     x0, #MAX_PAYLOAD
        mov     x1, #2
        bl      put
        mrs     x0, cntfrq_el0
        mov     x1, #4
        bl      put
        adr     x0, page
        mov     x1, #8
        bl      put
        b       operation

op_read:
        mov     x1, #4
        bl      take
        mov     x6, x0
        mov     x1, #2
        bl      take
        mov     x1, x0
        mov     x0, x6
        bl      within
        // At worst one control byte for 128 others, and one more.
        add     x2, x1, x1, lsr #7
        add     x2, x2, #2
        sub     x3, x26, x25
        cmp     x2, x3
        b.hi    no_room
        bl      pack
        b       operation

op_write:
        mov     x1, #4
        bl      take
        mov     x6, x0
        mov     x1, #2
        bl      take
        mov     x1, x0
        mov     x0, x6
        bl      within
        b       unpack

op_checksums:
        mov     x1, #4
        bl      take
        mov     x6, x0
        mov     x1, #4
        bl      take
        mov     x7, x0                  // size
        mov     x1, #2
        bl      take
        mov     x8, x0                  // count
        mov     x0, x6
        mul     x1, x7, x8
        bl      within
        mov     x6, x0
1:      cbz     x8, operation
        mov     x0, x6
        mov     x1, x7
        bl      crc32
        mov     x1, #4
        bl      put
        add     x6, x6, x7
        sub     x8, x8, #1
        b       1b

op_fill:
        mov     x1, #4
        bl      take
        mov     x6, x0
        mov     x1, #4
        bl      take
        mov     x1, x0
        mov     x0, x6
        bl      within
        mov     x6, x0
        add     x7, x0, x1
        mov     x1, #1
        bl      take
        and     x0, x0, #0xff
        mov     x1, #0x0101010101010101
        mul     x0, x0, x1
1:      sub     x1, x7, x6
        cbz     x1, operation
        tst     x6, #7
        ccmp    x1, #8, #0, eq
        b.hs    2f
        strb    w0, [x6], #1
        b       1b
2:      str     x0, [x6], #8
        b       1b

op_leave:
        mov     x0, #1
        str     x0, [x19, #S_LEAVING]
        b       finish

op_last_smc:
        ldr     x0, [x20, #C_NUMBER]
        mov     x1, #1
        bl      put
        mov     x9, #0
        b       put_registers

op_smc_interrupted:
        mov     x1, #4
        bl      take
        b       1f
op_smc: mov     x0, #0
1:      str     x0, [x19, #S_PERIOD]
        mov     x1, #1
        bl      take
        mov     x29, x0                 // number
        mov     x1, #4
        bl      take
        mov     w6, w0                  // nibbles
        mov     x7, #0
        add     x8, x19, #S_IN
2:      and     x1, x6, #15
        cmp     x1, #8
        b.hi    malformed
        lsr     w6, w6, #4
        bl      take
        str     x0, [x8, x7, lsl #3]
        add     x7, x7, #1
        cmp     x7, #8
        b.lo    2b
        sub     x0, x26, x25
        cmp     x0, #(4 + 64)
        b.lo    no_room
        mov     x9, #1
        ldr     x0, [x20, #C_NUMBER]
        cmp     x0, x29
        b.eq    put_registers

        ldr     x0, [x19, #S_PERIOD]
        cbz     x0, 4f
        ldr     x0, [x19, #S_TIMER]
        cbnz    x0, 3f
        ldp     x1, x2, [x20, #C_DISTRIBUTOR]
        cbz     x1, no_timer
        add     x0, x19, #S_TIMER
        bl      timer_open
        cbz     x0, no_timer
3:      add     x0, x19, #S_TIMER
        ldr     x1, [x19, #S_PERIOD]
        bl      timer_arm
4:      bl      serve
        // What was written is seen before the call is made, by whoever looks at it then.
        dsb     sy
        add     x8, x19, #S_IN
        ldp     x0, x1, [x8]
        ldp     x2, x3, [x8, #16]
        ldp     x4, x5, [x8, #32]
        ldp     x6, x7, [x8, #48]
        smc     #0                      // SMCCC: x0 to x17 may change, the rest is preserved
        add     x8, x19, #S_OUT
        stp     x0, x1, [x8]
        stp     x2, x3, [x8, #16]
        stp     x4, x5, [x8, #32]
        stp     x6, x7, [x8, #48]
        dsb     sy
        ldr     x2, [x19, #S_PERIOD]
        cbz     x2, 5f
        mov     x1, x0
        add     x0, x19, #S_TIMER
        bl      timer_disarm
5:      bl      serve
        str     x29, [x20, #C_NUMBER]
        mov     x9, #1

// What the last SMC gave. x9: 15 for what it did not change.
put_registers:
        sub     x0, x26, x25
        cmp     x0, #(4 + 64)
        b.lo    no_room
        mov     x5, x25
        add     x25, x25, #4
        mov     w6, #0                  // nibbles
        mov     x7, #0                  // bits of them
        add     x8, x19, #S_IN
1:      ldr     x0, [x8, #(S_OUT - S_IN)]
        ldr     x1, [x8], #8
        cmp     x0, x1
        ccmp    x9, #1, #0, eq
        mov     w1, #15
        b.eq    2f
        clz     x1, x0
        mov     w2, #71
        sub     w1, w2, w1
        lsr     w1, w1, #3
2:      lsl     w2, w1, w7
        orr     w6, w6, w2
        b.eq    4f
3:      cbz     w1, 4f
        strb    w0, [x25], #1
        lsr     x0, x0, #8
        sub     w1, w1, #1
        b       3b
4:      add     x7, x7, #4
        cmp     x7, #32
        b.lo    1b
        mov     x1, x25
        mov     x25, x5
        mov     x0, x6
        mov     x5, x1
        mov     x1, #4
        bl      put
        mov     x25, x5
        b       operation

no_room:
        mov     w0, #NO_ROOM
        b       refuse
no_timer:
        mov     w0, #NO_TIMER
        b       refuse

// The next x1 bytes of the request as a number in x0. Uses x2 and x3.
take:   sub     x0, x24, x23
        cmp     x0, x1
        b.lo    malformed
        mov     x0, #0
        mov     x2, #0
1:      cbz     x1, 2f
        ldrb    w3, [x23], #1
        lsl     x3, x3, x2
        orr     x0, x0, x3
        add     x2, x2, #8
        sub     x1, x1, #1
        b       1b
2:      ret

// Appends the x1 lowest bytes of x0 to the answer.
put:    sub     x2, x26, x25
        cmp     x2, x1
        b.lo    no_room
1:      strb    w0, [x25], #1
        lsr     x0, x0, #8
        subs    x1, x1, #1
        b.ne    1b
        ret

// Offset x0, below 2^32, and length x1, below 2^48, become address x0 and length x1. Uses x2 to x4.
within: add     x2, x0, x1
        ldp     x4, x3, [x20, #C_WINDOW]
        cmp     x2, x3
        b.hi    outside
        add     x0, x0, x4
        ret
outside:
        mov     w0, #OUTSIDE
        b       refuse

// Appends x1 bytes at x0 to the answer, packed.
pack:   add     x1, x0, x1
        mov     x2, #0                  // control byte of the literal that is being written
1:      cmp     x0, x1
        b.hs    6f
        ldrb    w3, [x0]
        mov     x4, #1                  // how often it stands here
        add     x6, x0, #1
2:      cmp     x6, x1
        b.hs    3f
        cmp     x4, #130
        b.hs    3f
        ldrb    w5, [x6], #1
        cmp     w5, w3
        b.ne    3f
        add     x4, x4, #1
        b       2b
3:      cmp     x4, #3
        b.lo    4f
        add     x0, x0, x4
        add     w4, w4, #125
        strb    w4, [x25], #1
        strb    w3, [x25], #1
        mov     x2, #0
        b       1b
4:      add     x0, x0, #1
        cbz     x2, 5f
        ldrb    w4, [x2]
        cmp     w4, #127
        b.eq    5f
        add     w4, w4, #1
        strb    w4, [x2]
        strb    w3, [x25], #1
        b       1b
5:      mov     x2, x25
        strb    wzr, [x25], #1
        strb    w3, [x25], #1
        b       1b
6:      ret

// Packed bytes of the request become x1 bytes at x0.
unpack: add     x1, x0, x1
1:      cmp     x0, x1
        b.hs    operation
        sub     x4, x24, x23
        cmp     x4, #2
        b.lo    malformed
        sub     x5, x1, x0
        ldrb    w2, [x23], #1
        tbnz    w2, #7, 3f
        add     x2, x2, #1
        cmp     x2, x4                  // of these one was the control byte
        b.hs    malformed
        cmp     x2, x5
        b.hi    malformed
2:      ldrb    w3, [x23], #1
        strb    w3, [x0], #1
        subs    x2, x2, #1
        b.ne    2b
        b       1b
3:      sub     x2, x2, #125
        cmp     x2, x5
        b.hi    malformed
        ldrb    w3, [x23], #1
4:      strb    w3, [x0], #1
        subs    x2, x2, #1
        b.ne    4b
        b       1b

// Takes a frame into the request's memory. x0: length of its payload, negative where it is none.
receive:
        stp     x29, x30, [sp, #-16]!
        adr     x23, page + REQUEST
        mov     x0, #0
        bl      await
        strb    w0, [x23], #1
        cmp     w0, #SYNC_REQUEST
        b.ne    3f
        mov     x24, #(HEAD - 1)
1:      mov     x0, x27
        bl      await
        tbnz    w0, #31, 3f
        strb    w0, [x23], #1
        subs    x24, x24, #1
        b.ne    1b
        ldrb    w0, [x23, #-4]
        ldrb    w1, [x23, #-3]
        orr     w25, w0, w1, lsl #8
        mov     w0, #MAX_PAYLOAD
        cmp     w25, w0
        b.hi    3f
        add     x24, x25, #4
2:      mov     x0, x27
        bl      await
        tbnz    w0, #31, 3f
        strb    w0, [x23], #1
        subs    x24, x24, #1
        b.ne    2b
        adr     x0, page + REQUEST
        add     x1, x25, #HEAD
        bl      crc32
        mov     x24, x23
        sub     x23, x23, #4
        mov     x5, x0
        mov     x1, #4
        bl      take
        cmp     w0, w5
        b.ne    3f
        mov     x0, x25
        b       4f
3:      mov     x0, #-1
4:      ldp     x29, x30, [sp], #16
        ret

// Sends a frame: x0 where it is, its payload there already, x1 its length, x2 the sequence.
transmit:
        stp     x29, x30, [sp, #-16]!
        mov     x23, x0
        add     x24, x1, #HEAD
        mov     w3, #SYNC_ANSWER
        strb    w3, [x0]
        strb    w1, [x0, #1]
        lsr     w1, w1, #8
        strb    w1, [x0, #2]
        strb    w2, [x0, #3]
        lsr     w2, w2, #8
        strb    w2, [x0, #4]
        mov     x1, x24
        bl      crc32
        add     x25, x23, x24
        mov     x26, #4
1:      strb    w0, [x25], #1
        lsr     w0, w0, #8
        subs    x26, x26, #1
        b.ne    1b
2:      ldrb    w0, [x23], #1
        add     x9, x22, #4
        blr     x9
        cmp     x23, x25
        b.lo    2b
        ldp     x29, x30, [sp], #16
        ret

// A byte in w0, or -1 after x0 ticks of the counter without one; 0 ticks: for ever.
await:  stp     x29, x30, [sp, #-32]!
        str     x26, [sp, #16]
        mov     x29, x0
        mrs     x26, cntvct_el0
1:      blr     x22
        tbz     w0, #31, 2f
        mrs     x0, cntvct_el0
        sub     x1, x0, x28
        cmp     x1, x27
        b.lo    3f
        bl      serve
3:      cbz     x29, 1b
        mrs     x0, cntvct_el0
        sub     x0, x0, x26
        cmp     x0, x29
        b.lo    1b
        mov     w0, #-1
2:      ldr     x26, [sp, #16]
        ldp     x29, x30, [sp], #32
        ret

// Serves the watchdog, where there is one.
serve:  mrs     x28, cntvct_el0
        ldr     x1, [x20, #C_WATCHDOG]
        cbnz    x1, imx_wdog_serve
        ret

// The CRC-32 of zlib over x1 bytes at x0, in w0. Uses x2 to x4.
crc32:  adr     x4, page + TABLE
        mov     w2, #-1
1:      cbz     x1, 2f
        ldrb    w3, [x0], #1
        eor     w3, w3, w2
        and     w3, w3, #0xff
        ldr     w3, [x4, w3, uxtw #2]
        eor     w2, w3, w2, lsr #8
        sub     x1, x1, #1
        b       1b
2:      mvn     w0, w2
        ret

make_table:
        adr     x0, page + TABLE
        mov     w1, #0x8320
        movk    w1, #0xedb8, lsl #16
        mov     w2, #0
1:      mov     w3, w2
        mov     w4, #8
2:      and     w5, w3, #1
        neg     w5, w5
        and     w5, w5, w1
        eor     w3, w5, w3, lsr #1
        subs    w4, w4, #1
        b.ne    2b
        str     w3, [x0], #4
        add     w2, w2, #1
        cmp     w2, #256
        b.lo    1b
        ret

        .include "pl011.s"
        .include "imx-uart.s"
        .include "imx-wdog.s"
        .include "timer.s"

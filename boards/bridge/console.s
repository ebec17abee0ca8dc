// The program that a boot loader's `go` runs for the console bridge. Position independent; one page.
//
//      go ADDRESS SEQUENCE OPERATION [OPERAND ...] CHECK
//
// All arguments are hexadecimal. CHECK is the CRC-32 of those before it, as little-endian 64-bit
// words. What does not check is not carried out, and neither is a SEQUENCE that has been already:
// its answer still stands in the page, so whoever lost it asks again.
//
// OPERATION 1  SMC: operands x0 to x7, those left out are 0. The answer is x0 to x3.
// OPERATION 2  the CRC-32 of up to four pieces of memory, one behind the other: address and length
//              in bytes of each. The answer is x0.
// OPERATION 3  the CRC-32 of each of up to eight blocks of memory: address of the first, length of
//              each in bytes, how many. The answer is two in a register, the first in x0's low half.
// OPERATION 4  the same 64-bit word all over memory: address, length in bytes, the word.
//
// The page:
//      0x000  code
//      0x400  answer: sequence, operation | (x4 to x7 differ << 32), x0, x1, x2, x3, CRC-32 of these
//      0x438  x4, x5, x6, x7 after the call, CRC-32 of these
//      0x600  arguments, at most 16

        .arch   armv8-a
        .equ    MAX_ARGUMENTS, 16
        .text
page:
start:  stp     x29, x30, [sp, #-96]!
        stp     x19, x20, [sp, #16]
        stp     x21, x22, [sp, #32]
        stp     x23, x24, [sp, #48]
        stp     x25, x26, [sp, #64]
        stp     x27, x28, [sp, #80]
        adr     x19, page + 0x400       // answer
        adr     x20, page + 0x600       // arguments
        mov     w21, w0                 // argc, with the address itself as argument 0
        mov     x22, x1                 // argv
        mov     x23, #0                 // arguments read
        cmp     w21, #4
        b.lo    done
        cmp     w21, #(MAX_ARGUMENTS + 1)
        b.hi    done

        mov     w24, #1
argument:
        ldr     x0, [x22, w24, uxtw #3]
        mov     x1, #0
digit:  ldrb    w2, [x0], #1
        cbz     w2, stored
        sub     w3, w2, #'0'
        cmp     w3, #9
        b.ls    push
        orr     w2, w2, #0x20
        sub     w3, w2, #'a'
        cmp     w3, #5
        b.hi    done
        add     w3, w3, #10
push:   orr     x1, x3, x1, lsl #4
        b       digit
stored: str     x1, [x20, x23, lsl #3]
        add     x23, x23, #1
        add     w24, w24, #1
        cmp     w24, w21
        b.lo    argument

        sub     x23, x23, #1            // without CHECK
        mov     x0, x20
        lsl     x1, x23, #3
        bl      crc32
        ldr     x1, [x20, x23, lsl #3]
        cmp     x0, x1
        b.ne    done
        ldr     x25, [x20]              // SEQUENCE
        ldr     x1, [x19]
        cmp     x1, x25
        b.eq    done
pad:    cmp     x23, #10
        b.hs    padded
        str     xzr, [x20, x23, lsl #3]
        add     x23, x23, #1
        b       pad

padded: ldr     x26, [x20, #8]          // OPERATION
        cmp     x26, #1
        b.eq    call
        cmp     x26, #2
        b.eq    sum
        cmp     x26, #3
        b.eq    blocks
        cmp     x26, #4
        b.ne    done

        ldp     x0, x1, [x20, #16]
        ldr     x2, [x20, #32]
fill:   subs    x1, x1, #8
        b.lo    filled
        str     x2, [x0], #8
        b       fill
filled: mov     x0, #0
        b       one

blocks: stp     xzr, xzr, [x19, #16]
        stp     xzr, xzr, [x19, #32]
        ldp     x27, x28, [x20, #16]    // address, length
        ldr     x24, [x20, #32]         // how many
        cmp     x24, #8
        b.hi    done
        mov     x23, #0
block:  cmp     x23, x24
        b.hs    commit
        mov     x0, x27
        mov     x1, x28
        bl      crc32
        add     x1, x19, #16
        str     w0, [x1, x23, lsl #2]
        add     x27, x27, x28
        add     x23, x23, #1
        b       block

sum:    add     x23, x20, #16
        add     x24, x20, #80
        mov     w2, #-1
piece:  ldp     x0, x1, [x23], #16
        bl      crcmore
        cmp     x23, x24
        b.lo    piece

one:    stp     x0, xzr, [x19, #16]
        stp     xzr, xzr, [x19, #32]
        b       commit

// SMCCC: x0 to x17 may change, the rest is preserved.
call:   ldp     x0, x1, [x20, #16]
        ldp     x2, x3, [x20, #32]
        ldp     x4, x5, [x20, #48]
        ldp     x6, x7, [x20, #64]
        smc     #0
        stp     x0, x1, [x19, #16]
        stp     x2, x3, [x19, #32]
        str     x4, [x19, #0x38]
        str     x5, [x19, #0x40]
        str     x6, [x19, #0x48]
        str     x7, [x19, #0x50]
        ldp     x0, x1, [x20, #48]
        ldp     x2, x3, [x20, #64]
        cmp     x0, x4
        ccmp    x1, x5, #0, eq
        ccmp    x2, x6, #0, eq
        ccmp    x3, x7, #0, eq
        cset    x0, ne
        orr     x26, x26, x0, lsl #32
        add     x0, x19, #0x38
        mov     x1, #32
        bl      crc32
        str     x0, [x19, #0x58]

commit: stp     x25, x26, [x19]
        mov     x0, x19
        mov     x1, #48
        bl      crc32
        str     x0, [x19, #0x30]

done:   mov     x0, #0
        ldp     x27, x28, [sp, #80]
        ldp     x25, x26, [sp, #64]
        ldp     x23, x24, [sp, #48]
        ldp     x21, x22, [sp, #32]
        ldp     x19, x20, [sp, #16]
        ldp     x29, x30, [sp], #96
        ret

// x0 address, x1 length in bytes: the CRC-32 of zlib in x0. Uses x1 to x6. From `crcmore` on it goes
// on with what w2 was left at.
crc32:  mov     w2, #-1
crcmore:
        mov     w3, #0x8320
        movk    w3, #0xedb8, lsl #16
byte:   cbz     x1, checked
        ldrb    w4, [x0], #1
        eor     w2, w2, w4
        mov     w5, #8
bit:    and     w6, w2, #1
        neg     w6, w6
        and     w6, w6, w3
        eor     w2, w6, w2, lsr #1
        subs    w5, w5, #1
        b.ne    bit
        sub     x1, x1, #1
        b       byte
checked:
        mvn     w0, w2
        ret

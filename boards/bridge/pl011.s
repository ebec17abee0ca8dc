// The PL011 as the boot loader has set it up; no setting is changed. A driver is three branches:
// +0 a byte in w0, or -1 where none has come; +4 sends w0; +8 waits until everything is sent.
// x21 is the UART. Uses x0 and x1.

        .equ    PL011_DR, 0x00
        .equ    PL011_FR, 0x18
        .equ    PL011_FR_BUSY, 3
        .equ    PL011_FR_RXFE, 4
        .equ    PL011_FR_TXFF, 5

pl011:  b       pl011_get
        b       pl011_put
        b       pl011_flush

pl011_get:
        ldr     w1, [x21, #PL011_FR]
        mov     w0, #-1
        tbnz    w1, #PL011_FR_RXFE, 1f
        ldr     w0, [x21, #PL011_DR]
        and     w0, w0, #0xff
1:      ret

pl011_put:
        ldr     w1, [x21, #PL011_FR]
        tbnz    w1, #PL011_FR_TXFF, pl011_put
        str     w0, [x21, #PL011_DR]
        ret

pl011_flush:
        ldr     w1, [x21, #PL011_FR]
        tbnz    w1, #PL011_FR_BUSY, pl011_flush
        ret

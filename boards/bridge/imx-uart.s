// The i.MX UART as the boot loader has set it up; no setting is changed. A driver as in pl011.s.
// URXD is read only when a character is ready: reading it otherwise need not be harmless.

        .equ    IMX_URXD, 0x00
        .equ    IMX_UTXD, 0x40
        .equ    IMX_USR2, 0x98
        .equ    IMX_USR2_RDR, 0
        .equ    IMX_USR2_TXDC, 3
        .equ    IMX_UTS, 0xb4
        .equ    IMX_UTS_TXFULL, 4

imx_uart:
        b       imx_uart_get
        b       imx_uart_put
        b       imx_uart_flush

imx_uart_get:
        ldr     w1, [x21, #IMX_USR2]
        mov     w0, #-1
        tbz     w1, #IMX_USR2_RDR, 1f
        ldr     w0, [x21, #IMX_URXD]
        and     w0, w0, #0xff
1:      ret

imx_uart_put:
        ldr     w1, [x21, #IMX_UTS]
        tbnz    w1, #IMX_UTS_TXFULL, imx_uart_put
        str     w0, [x21, #IMX_UTXD]
        ret

imx_uart_flush:
        ldr     w1, [x21, #IMX_USR2]
        tbz     w1, #IMX_USR2_TXDC, imx_uart_flush
        ret

// An interrupt for the non-secure world, behind a GICv3, in the middle of an SMC. It is never taken
// here: PSTATE.I stays set. It makes the secure world hand back its call (SMC return FOREIGN_INTR).
//
// At EL2 it is the hypervisor's physical timer (PPI 26). EL1's own timers do not run in the secure
// world: TF-A keeps one set of their registers for each world (NS_TIMER_SWITCH). So at EL1 it is an
// interrupt made pending (SGI 0) as the call is entered; not when the last call was handed back for
// one, so that every call gets on.

        .equ    TIMER_PPI, 26
        .equ    TIMER_SGI, 0
        .equ    FOREIGN_INTR, 0xffff0004
        .equ    GICD_CTLR, 0x0000
        .equ    GICD_CTLR_GRP1, 1       // bit, the non-secure view
        .equ    GICD_CTLR_ARE, 4
        .equ    GICD_CTLR_RWP, 31
        .equ    GICR_TYPER, 0x0008
        .equ    GICR_TYPER_VLPIS, 1
        .equ    GICR_TYPER_LAST, 4
        .equ    GICR_FRAME, 0x10000     // the second frame of a redistributor: SGIs and PPIs
        .equ    GICR_ISENABLER0, 0x0100
        .equ    GICR_ICENABLER0, 0x0180
        .equ    GICR_ISPENDR0, 0x0200
        .equ    GICR_ICPENDR0, 0x0280
        .equ    GICR_IPRIORITYR, 0x0400

// What is kept, 72 bytes:
        .equ    T_FRAME, 0              // second frame of our redistributor; 0: not open
        .equ    T_DISTRIBUTOR, 8
        .equ    T_CTLR, 16              // of the distributor
        .equ    T_ENABLED, 20           // our interrupts
        .equ    T_PRIORITY, 24
        .equ    T_NUMBER, 28            // of the interrupt
        .equ    T_SRE, 32
        .equ    T_PMR, 36
        .equ    T_IGRPEN1, 40
        .equ    T_HANDED_BACK, 44       // the last call
        .equ    T_CVAL, 48
        .equ    T_CTL, 56

// x0 where to keep it, x1 the distributor, x2 the redistributors. x0 = 1 when the interrupt is ready
// to be armed, 0 where this GIC is not one as above. Uses x3 to x7.
timer_open:
        mrs     x3, mpidr_el1
        ubfx    x4, x3, #32, #8
        and     x3, x3, #0xffffff
        orr     x3, x3, x4, lsl #24
1:      ldr     x4, [x2, #GICR_TYPER]
        lsr     x5, x4, #32
        cmp     w5, w3
        b.eq    2f
        tbnz    w4, #GICR_TYPER_LAST, 9f
        add     x2, x2, #0x20, lsl #12
        tbz     w4, #GICR_TYPER_VLPIS, 1b
        add     x2, x2, #0x20, lsl #12
        b       1b
2:      ldr     w3, [x1, #GICD_CTLR]
        tbz     w3, #GICD_CTLR_ARE, 9f
        add     x2, x2, #GICR_FRAME >> 12, lsl #12
        stp     x2, x1, [x0, #T_FRAME]
        ldr     w4, [x2, #GICR_ISENABLER0]
        stp     w3, w4, [x0, #T_CTLR]

        mrs     x5, currentel
        cmp     x5, #(2 << 2)
        b.eq    3f
        mov     w7, #TIMER_SGI
        mrs     x4, s3_0_c12_c12_5      // ICC_SRE_EL1
        orr     x6, x4, #1
        msr     s3_0_c12_c12_5, x6
        b       4f
3:      mov     w7, #TIMER_PPI
        mrs     x4, s3_4_c12_c9_5       // ICC_SRE_EL2
        orr     x6, x4, #1
        msr     s3_4_c12_c9_5, x6
        mrs     x5, cnthp_cval_el2
        mrs     x6, cnthp_ctl_el2
        stp     x5, x6, [x0, #T_CVAL]
        msr     cnthp_ctl_el2, xzr
4:      isb
        mrs     x5, s3_0_c4_c6_0        // ICC_PMR_EL1
        stp     w4, w5, [x0, #T_SRE]
        mrs     x4, s3_0_c12_c12_7      // ICC_IGRPEN1_EL1
        stp     w4, wzr, [x0, #T_IGRPEN1]
        add     x5, x2, #GICR_IPRIORITYR
        ldrb    w4, [x5, x7]
        stp     w4, w7, [x0, #T_PRIORITY]

        mov     w4, #0xa0
        strb    w4, [x5, x7]
        mov     w4, #1
        lsl     w4, w4, w7
        str     w4, [x2, #GICR_ISENABLER0]
        orr     w3, w3, #(1 << GICD_CTLR_GRP1)
        str     w3, [x1, #GICD_CTLR]
5:      ldr     w3, [x1, #GICD_CTLR]
        tbnz    w3, #GICD_CTLR_RWP, 5b
        mov     x4, #0xf0
        msr     s3_0_c4_c6_0, x4
        mov     x4, #1
        msr     s3_0_c12_c12_7, x4
        dsb     sy
        isb
        mov     x0, #1
        ret
9:      mov     x0, #0
        ret

// x0 what is kept. The interrupt comes in x1 microseconds, at EL1 at once. Uses x2 to x4.
timer_arm:
        ldr     x2, [x0, #T_FRAME]
        ldr     w3, [x0, #T_NUMBER]
        cbnz    w3, 1f
        ldr     w3, [x0, #T_HANDED_BACK]
        cbnz    w3, 3f
        mov     w3, #(1 << TIMER_SGI)
        str     w3, [x2, #GICR_ISPENDR0]
        b       2f
1:      mrs     x2, cntfrq_el0
        mul     x1, x1, x2
        mov     w2, #(1000000 & 0xffff)
        movk    w2, #(1000000 >> 16), lsl #16
        udiv    x1, x1, x2
        mov     w2, #0x7fffffff
        cmp     x1, x2
        csel    x1, x1, x2, lo
        msr     cnthp_tval_el2, x1
        mov     x1, #1
        msr     cnthp_ctl_el2, x1
2:      dsb     sy
        isb
3:      ret

// x0 what is kept, w1 what the call gave in w0. The interrupt comes no more. Uses x2 and x3.
timer_disarm:
        ldr     w3, [x0, #T_NUMBER]
        cbnz    w3, 1f
        ldr     x2, [x0, #T_FRAME]
        mov     w3, #(1 << TIMER_SGI)
        str     w3, [x2, #GICR_ICPENDR0]
        mov     w3, #(FOREIGN_INTR & 0xffff)
        movk    w3, #(FOREIGN_INTR >> 16), lsl #16
        cmp     w1, w3
        cset    w3, eq
        str     w3, [x0, #T_HANDED_BACK]
        dsb     sy
        ret
        // The timer holds its line by level: an interrupt that waits is gone with it.
1:      msr     cnthp_ctl_el2, xzr
        isb
        ret

// x0 what is kept. Everything is as it was before. Uses x1 to x6.
timer_close:
        ldp     x2, x1, [x0, #T_FRAME]
        cbz     x2, 4f
        str     xzr, [x0, #T_FRAME]
        ldp     w3, w4, [x0, #T_CTLR]
        ldp     w5, w6, [x0, #T_PRIORITY]
        cbz     w6, 1f
        msr     cnthp_ctl_el2, xzr
        isb
1:      ldr     w1, [x0, #T_IGRPEN1]
        msr     s3_0_c12_c12_7, x1
        ldr     w1, [x0, #T_PMR]
        msr     s3_0_c4_c6_0, x1
        isb
        mov     w1, #1
        lsl     w1, w1, w6
        bics    wzr, w1, w4
        b.eq    2f
        str     w1, [x2, #GICR_ICENABLER0]
2:      add     x2, x2, #GICR_IPRIORITYR
        strb    w5, [x2, x6]
        ldr     x1, [x0, #T_DISTRIBUTOR]
        str     w3, [x1, #GICD_CTLR]
        dsb     sy
        ldr     w3, [x0, #T_SRE]
        cbz     w6, 3f
        msr     s3_4_c12_c9_5, x3
        ldp     x3, x4, [x0, #T_CVAL]
        msr     cnthp_cval_el2, x3
        msr     cnthp_ctl_el2, x4
        isb
        ret
3:      msr     s3_0_c12_c12_5, x3
        isb
4:      ret

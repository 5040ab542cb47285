/*
 * The first instructions of a partition at S-EL1: stage 1, a stack, the vectors, .bss; then
 * partition_main(). x0 to x7 are not kept.
 *
 * The MMU comes first, so that no memory is written without the caches. One table maps each GiB to
 * itself: the first is Secure, the others are Non-secure. Stage 2, which is the SPMC's, decides what
 * of them the partition has, and makes devices Device memory.
 */

/* Normal memory (the second attribute of MAIR), inner shareable, accessed, a block. */
#define NORMAL		0x705
/* Non-secure, and never executed. */
#define NS		(1 << 5 | 3 << 53)

/* Device-nGnRE, and Normal write-back. */
#define MAIR		0xff04
/* 39 bits, tables inner shareable and write-back, no TTBR1. */
#define TCR		(25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23)
/* RES1 bits, instruction cache, check of SP, data cache, MMU. */
#define SCTLR		(0x30d00980 | 1 << 12 | 1 << 3 | 1 << 2 | 1)

#define STACK_SIZE	0x4000

	.section .text.entry, "ax"
	.global _start
_start:
	ldr	x0, =MAIR
	msr	mair_el1, x0
	ldr	x0, =TCR
	/* As many physical address bits as the PE has. */
	mrs	x1, id_aa64mmfr0_el1
	bfi	x0, x1, #32, #3
	msr	tcr_el1, x0
	adrp	x0, page_table
	msr	ttbr0_el1, x0
	isb
	tlbi	vmalle1
	ic	iallu
	dsb	nsh
	isb
	ldr	x0, =SCTLR
	msr	sctlr_el1, x0
	isb

	adrp	x0, vectors
	add	x0, x0, :lo12:vectors
	msr	vbar_el1, x0
	adrp	x0, bss_start
	adrp	x1, bss_end
	add	x1, x1, :lo12:bss_end
1:	cmp	x0, x1
	b.hs	2f
	stp	xzr, xzr, [x0], #16
	b	1b
2:	adrp	x0, stack + STACK_SIZE
	mov	sp, x0
	mov	x29, xzr
	bl	partition_main
	b	ffa_abort

	/* void ffa_smc(uint64_t registers[18]): calls with x0 to x17, and stores x0 to x17. */
	.text
	.global ffa_smc
ffa_smc:
	str	x19, [sp, #-16]!
	mov	x19, x0
	ldp	x16, x17, [x19, #128]
	ldp	x14, x15, [x19, #112]
	ldp	x12, x13, [x19, #96]
	ldp	x10, x11, [x19, #80]
	ldp	x8, x9, [x19, #64]
	ldp	x6, x7, [x19, #48]
	ldp	x4, x5, [x19, #32]
	ldp	x2, x3, [x19, #16]
	ldp	x0, x1, [x19]
	smc	#0
	stp	x0, x1, [x19]
	stp	x2, x3, [x19, #16]
	stp	x4, x5, [x19, #32]
	stp	x6, x7, [x19, #48]
	stp	x8, x9, [x19, #64]
	stp	x10, x11, [x19, #80]
	stp	x12, x13, [x19, #96]
	stp	x14, x15, [x19, #112]
	stp	x16, x17, [x19, #128]
	ldr	x19, [sp], #16
	ret

	/* Whatever happens is an error: interrupts stay masked. */
	.balign 2048
vectors:
	.rept	16
	.balign	128
	mrs	x0, elr_el1
	mrs	x1, esr_el1
	mrs	x2, far_el1
	b	ffa_exception
	.endr

	.section .rodata
	.balign 4096
page_table:
	.quad	0 << 30 | NORMAL
	.quad	1 << 30 | NORMAL | NS
	.quad	2 << 30 | NORMAL | NS
	.quad	3 << 30 | NORMAL | NS
	.fill	508, 8, 0

	.bss
	.balign 4096
stack:
	.space	STACK_SIZE

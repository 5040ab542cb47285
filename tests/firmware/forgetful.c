/*
 * EL3 that forgets: registers of the Secure world that TF-A keeps for nobody hold other values
 * whenever the Secure world is entered, as after a suspend with loss of power, which the SPMD does
 * not tell the SPMC (docs/hardware.md, "Registers of EL2"). BL31 of a layout with "forgetful": true
 * is linked with this file, by which it wraps the function that restores the registers that are
 * kept.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include <arch_helpers.h>
#include <lib/el3_runtime/context_mgmt.h>

void __real_cm_el2_sysregs_context_restore(uint32_t security_state);

void __wrap_cm_el2_sysregs_context_restore(uint32_t security_state)
{
	u_register_t scr_el3 = read_scr_el3();

	__real_cm_el2_sysregs_context_restore(security_state);
	if (security_state != SECURE) {
		return;
	}
	write_scr_el3((scr_el3 & ~SCR_NS_BIT) | SCR_EEL2_BIT);
	isb();
	/* VSTCR_EL2: Non-secure PAs and tables, another size, another granule; VSTTBR_EL2. */
	__asm__ volatile("msr S3_4_C2_C6_2, %0" : : "r"(0xe000401dULL));
	__asm__ volatile("msr S3_4_C2_C6_0, %0" : : "r"(0x5a5a00005a5a0000ULL));
	/* CNTHVS_CVAL_EL2, CNTHVS_CTL_EL2: a timer that has expired. */
	__asm__ volatile("msr S3_4_C14_C4_2, %0" : : "r"(0ULL));
	__asm__ volatile("msr S3_4_C14_C4_1, %0" : : "r"(1ULL));
	/* CNTHPS_CVAL_EL2, CNTHPS_CTL_EL2: as above; the interrupt is disabled. */
	__asm__ volatile("msr S3_4_C14_C5_2, %0" : : "r"(0ULL));
	__asm__ volatile("msr S3_4_C14_C5_1, %0" : : "r"(1ULL));
	/* Registers that EL3 keeps in some builds only, and on which nothing may depend: TTBR1_EL2,
	 * CONTEXTIDR_EL2, VDISR_EL2 and VSESR_EL2. */
	__asm__ volatile("msr S3_4_C2_C0_1, %0" : : "r"(0x5a5a00005a5a0000ULL));
	__asm__ volatile("msr S3_4_C13_C0_1, %0" : : "r"(0x5a5a5a5aULL));
	__asm__ volatile("msr S3_4_C12_C1_1, %0" : : "r"(0x80000000ULL));
	__asm__ volatile("msr S3_4_C5_C2_3, %0" : : "r"(0x1ffffffULL));
	/* ICC_CTLR_EL1, the Secure copy: EOImode is 0. */
	__asm__ volatile("msr S3_0_C12_C12_4, %0" : : "r"(0ULL));
	isb();
	write_scr_el3(scr_el3);
	isb();
}

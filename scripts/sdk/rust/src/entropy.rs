//! Random numbers of the PE: RNDRRS of FEAT_RNG, which takes new entropy for each number.

use core::arch::asm;

/// How often the instruction is tried: it fails while the entropy of the PE is used up.
const TRIES: usize = 1000;

/// Returns a random number, or `None` if the PE has no source of them or the source fails.
pub fn random() -> Option<u64> {
    if !is_there() {
        return None;
    }
    (0..TRIES).find_map(|_| {
        let (number, valid): (u64, u64);
        // SAFETY: RNDRRS, which the PE has, changes nothing but this register and NZCV.
        unsafe {
            asm!(
                "mrs {number}, s3_3_c2_c4_1",
                "cset {valid}, ne",
                number = out(reg) number,
                valid = out(reg) valid,
                options(nomem, nostack),
            );
        }
        (valid != 0).then_some(number)
    })
}

/// Returns whether the PE has FEAT_RNG: ID_AA64ISAR0_EL1.RNDR.
fn is_there() -> bool {
    let features: u64;
    // SAFETY: reads an identification register.
    unsafe {
        asm!("mrs {}, id_aa64isar0_el1", out(reg) features, options(nomem, nostack));
    }
    features >> 60 != 0
}

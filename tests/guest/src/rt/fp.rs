//! The FP/SIMD registers. Code of the guests never uses them, so a value stays until somebody
//! else's registers take its place.

use core::arch::global_asm;

/// v0 to v31.
pub type Vectors = [u128; 32];

unsafe extern "C" {
    fn fp_load(from: &Vectors);
    fn fp_store(to: &mut Vectors);
}

macro_rules! all_vectors {
    ($name:literal, $instruction:literal, $($pair:literal)*) => {
        global_asm!(
            ".section .text.fp, \"ax\"",
            ".arch_extension fp",
            ".arch_extension simd",
            concat!(".global ", $name),
            concat!($name, ":"),
            $(concat!($instruction, " ", $pair, ", [x0], #32"),)*
            "ret",
            ".previous",
        );
    };
    ($name:literal, $instruction:literal) => {
        all_vectors!(
            $name, $instruction,
            "q0, q1" "q2, q3" "q4, q5" "q6, q7" "q8, q9" "q10, q11" "q12, q13" "q14, q15"
            "q16, q17" "q18, q19" "q20, q21" "q22, q23" "q24, q25" "q26, q27" "q28, q29" "q30, q31"
        );
    };
}

all_vectors!("fp_load", "ldp");
all_vectors!("fp_store", "stp");

/// Returns a different value for each register.
pub fn pattern(seed: u64) -> Vectors {
    core::array::from_fn(|n| {
        let low = seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(n as u64);
        (low as u128) << 64 | !low as u128
    })
}

/// Puts `vectors` into the registers.
pub fn load(vectors: &Vectors) {
    // SAFETY: this target's code keeps nothing in these registers.
    unsafe { fp_load(vectors) };
}

/// Returns what the registers hold.
pub fn store() -> Vectors {
    let mut vectors = [0; 32];
    // SAFETY: writes exactly the array.
    unsafe { fp_store(&mut vectors) };
    vectors
}

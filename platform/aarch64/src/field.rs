//! Fields of registers that also have fields of others, who may change these at any time.

/// Returns the value of a register in which the field of `bits` bits from bit `lowest` on has
/// `value`. Returns `None` if `register` is that value already. The register must not be written
/// then: the write would undo what others have changed in it since it was read.
pub fn changed(register: u32, lowest: u32, bits: u32, value: u32) -> Option<u32> {
    let mask = ((1 << bits) - 1) << lowest;
    let after = register & !mask | value << lowest;
    (after != register).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_difference_is_written_and_other_fields_stay() {
        for bits in [1, 2, 8] {
            for lowest in (0..32).step_by(bits as usize) {
                let field = ((1_u64 << bits) - 1) as u32;
                for others in [0, u32::MAX, 0x5a5a_a5a5] {
                    let with = |value: u32| others & !(field << lowest) | value << lowest;
                    for value in [0, 1, field] {
                        assert_eq!(changed(with(value), lowest, bits, value), None);
                        let other = value ^ 1;
                        let found = changed(with(other), lowest, bits, value);
                        assert_eq!(found, Some(with(value)), "{bits} from {lowest}");
                    }
                }
            }
        }
    }
}

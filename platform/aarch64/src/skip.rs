//! Where a partition continues after a WFI that trapped. An application at EL0 of a partition may
//! be one of AArch32, whose WFI can be a T32 instruction of 16 bits in an IT block.

/// ESR_EL2.IL: the instruction has 32 bits.
const IL: u64 = 1 << 25;

// Fields of SPSR_EL2.
const MODE_AARCH32: u64 = 1 << 4;
const IT_LOW: u32 = 25; // IT[1:0], in AArch32 only
const IT_HIGH: u32 = 10; // IT[7:2], in AArch32 only

/// Returns the program counter and PSTATE after the WFI.
pub fn wfi(pc: u64, status: u64, syndrome: u64) -> (u64, u64) {
    let bytes = if syndrome & IL != 0 { 4 } else { 2 };
    let status = if status & MODE_AARCH32 != 0 {
        advance_it(status)
    } else {
        status
    };
    (pc.wrapping_add(bytes), status)
}

/// Returns PSTATE after an instruction of AArch32. IT is 0 outside of an IT block, and in A32.
fn advance_it(status: u64) -> u64 {
    let it = status >> IT_LOW & 0b11 | (status >> IT_HIGH & 0x3f) << 2;
    // IT[2:0] is 0 at the last instruction of the block. Otherwise IT[7:5] stays.
    let next = if it & 0b111 == 0 {
        0
    } else {
        it & 0b1110_0000 | it << 1 & 0b1_1111
    };
    let others = status & !(0b11 << IT_LOW | 0x3f << IT_HIGH);
    others | (next & 0b11) << IT_LOW | next >> 2 << IT_HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    const THUMB: u64 = 1 << 5;
    /// WFI as the syndrome has it, without IL.
    const WFI: u64 = 1 << 26;

    fn with_it(it: u64) -> u64 {
        MODE_AARCH32 | THUMB | (it & 0b11) << 25 | (it >> 2) << 10
    }

    #[test]
    fn a_partition_continues_behind_its_wfi() {
        // BTYPE, SSBS and TCO of AArch64 have the places of IT.
        let aarch64 = 1 << 25 | 0b111 << 10;
        assert_eq!(wfi(0x1000, aarch64, WFI | IL), (0x1004, aarch64));
        assert_eq!(wfi(0x1000, with_it(0), WFI | IL), (0x1004, with_it(0)));
        assert_eq!(wfi(0x1000, with_it(0), WFI), (0x1002, with_it(0)));
    }

    #[test]
    fn an_it_block_ends_where_its_last_instruction_is() {
        // ITTEE EQ: the states of the four instructions, and that behind them.
        let states = [0b0000_0111, 0b0000_1110, 0b0001_1100, 0b0001_1000, 0];
        for pair in states.windows(2) {
            let flags = 0b0110 << 28;
            let (_, status) = wfi(0, with_it(pair[0]) | flags, WFI);
            assert_eq!(status, with_it(pair[1]) | flags);
        }
    }
}

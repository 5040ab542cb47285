//! The PL011 (Arm DDI 0183).

use super::registers::Registers;

/// Offsets of registers in bytes.
pub mod register {
    pub const DATA: usize = 0x00;
    pub const FLAGS: usize = 0x18;
    pub const INTEGER_BAUD: usize = 0x24;
    pub const FRACTIONAL_BAUD: usize = 0x28;
    pub const LINE_CONTROL: usize = 0x2c;
    pub const CONTROL: usize = 0x30;
    pub const INTERRUPT_MASK: usize = 0x38;
}

pub const TRANSMIT_FULL: u32 = 1 << 5;
pub const EIGHT_BITS_FIFO: u32 = 0b11 << 5 | 1 << 4;
pub const ENABLE_TRANSMIT: u32 = 1 | 1 << 8;

pub fn init(registers: &impl Registers, clock_hz: u32, baud: u32) {
    // The divisor has six fractional bits: clock / (16 * baud) * 64. Its integer part has 16 bits
    // and is not 0.
    let divisor = u64::from(clock_hz) * 4 / u64::from(baud);
    let divisor = divisor.clamp(1 << 6, 0xffff << 6) as u32;
    registers.write(register::CONTROL, 0);
    registers.write(register::INTERRUPT_MASK, 0);
    registers.write(register::INTEGER_BAUD, divisor >> 6);
    registers.write(register::FRACTIONAL_BAUD, divisor & 0x3f);
    // A write of this register makes the divisor effective (3.3.7).
    registers.write(register::LINE_CONTROL, EIGHT_BITS_FIFO);
    registers.write(register::CONTROL, ENABLE_TRANSMIT);
}

#[inline(always)]
pub fn has_room(registers: &impl Registers) -> bool {
    registers.read(register::FLAGS) & TRANSMIT_FULL == 0
}

#[inline(always)]
pub fn put(registers: &impl Registers, character: u8) {
    registers.write(register::DATA, character.into());
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[test]
    fn the_divisor_is_rounded_to_64ths() {
        // DDI 0183 3.3.6: 230400 baud from 4 MHz is 1 and 5.44 / 64.
        let fake = Fake::pl011();
        init(&&fake, 4_000_000, 230_400);
        assert_eq!(fake.register(register::INTEGER_BAUD), 1);
        assert_eq!(fake.register(register::FRACTIONAL_BAUD), 5);
        assert_eq!(fake.register(register::LINE_CONTROL), 0x70);
        assert_eq!(fake.register(register::CONTROL), 0x101);
        init(&&fake, 24_000_000, 115_200);
        assert_eq!(fake.register(register::INTEGER_BAUD), 13);
        assert_eq!(fake.register(register::FRACTIONAL_BAUD), 1);
    }

    #[test]
    fn impossible_speeds_give_a_divisor_that_fits() {
        let fake = Fake::pl011();
        init(&&fake, 1, u32::MAX);
        assert_eq!(fake.register(register::INTEGER_BAUD), 1);
        init(&&fake, u32::MAX, 1);
        assert_eq!(fake.register(register::INTEGER_BAUD), 0xffff);
    }
}

//! The 16550 (National Semiconductor PC16550D), whose eight registers lie at a distance that the
//! board chooses.

use super::registers::Registers;

/// Numbers of registers.
pub mod register {
    /// THR; with the divisor latch open, the low byte of the divisor.
    pub const DATA: usize = 0;
    /// IER; with the divisor latch open, the high byte of the divisor.
    pub const INTERRUPT_ENABLE: usize = 1;
    /// FCR, which is written only.
    pub const FIFO_CONTROL: usize = 2;
    pub const LINE_CONTROL: usize = 3;
    pub const LINE_STATUS: usize = 5;
}

/// The holding register, or the FIFO behind it, is empty.
pub const TRANSMIT_EMPTY: u32 = 1 << 5;
pub const DIVISOR_LATCH: u32 = 1 << 7;
pub const EIGHT_BITS: u32 = 0b11;
/// FIFOs on, and emptied.
pub const FIFOS: u32 = 0b111;

pub fn init(registers: &impl Registers, shift: u8, clock_hz: u32, baud: u32) {
    // The divisor is clock / (16 * baud), rounded, in 16 bits.
    let sixteenths = u64::from(baud) * 16;
    let divisor = (u64::from(clock_hz) + sixteenths / 2) / sixteenths;
    let divisor = divisor.clamp(1, 0xffff) as u32;
    let write = |number: usize, value| registers.write(number << shift, value);
    write(register::LINE_CONTROL, DIVISOR_LATCH | EIGHT_BITS);
    write(register::DATA, divisor & 0xff);
    write(register::INTERRUPT_ENABLE, divisor >> 8);
    write(register::LINE_CONTROL, EIGHT_BITS);
    write(register::INTERRUPT_ENABLE, 0);
    write(register::FIFO_CONTROL, FIFOS);
}

#[inline(always)]
pub fn has_room(registers: &impl Registers, shift: u8) -> bool {
    registers.read(register::LINE_STATUS << shift) & TRANSMIT_EMPTY != 0
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
    fn the_divisor_goes_through_the_latch() {
        let fake = Fake::ns16550(2);
        init(&&fake, 2, 1_843_200, 9_600);
        assert_eq!(fake.divisor(), 12);
        assert_eq!(fake.register(register::LINE_CONTROL << 2), EIGHT_BITS);
        assert_eq!(fake.register(register::INTERRUPT_ENABLE << 2), 0);
        assert_eq!(fake.register(register::FIFO_CONTROL << 2), FIFOS);
        assert_eq!(fake.text(), "", "the divisor is no character");
        init(&&fake, 2, 24_000_000, 115_200);
        assert_eq!(fake.divisor(), 13);
        init(&&fake, 2, u32::MAX, 50);
        assert_eq!(fake.divisor(), 0xffff);
    }
}

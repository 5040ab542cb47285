//! The access to registers, which drivers are generic over.

/// Access to the registers of a UART.
pub trait Registers {
    /// Reads the register at an offset in bytes.
    fn read(&self, offset: usize) -> u32;
    /// Writes the register at an offset in bytes.
    fn write(&self, offset: usize, value: u32);
}

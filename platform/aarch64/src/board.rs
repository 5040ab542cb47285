//! The facts of a board that no manifest states.

/// Facts of a board. The PEs and their number come from the SPMC manifest.
#[derive(Debug)]
pub struct Board {
    /// Physical address of the PL011 that logs go to; Secure, one page.
    pub uart: u64,
    /// Frequency of the PL011's reference clock.
    pub uart_clock_hz: u32,
    /// Physical address of the GICv3 distributor, 64 KiB.
    pub distributor: u64,
    /// Physical address of the first GICv3 redistributor frame; the frames of all PEs follow each
    /// other.
    pub redistributors: u64,
    /// Partitions at S-EL1 access the physical GIC CPU interface. False on hardware, where
    /// HCR_EL2.IMO and FMO turn these accesses into accesses to the virtual CPU interface; true on
    /// QEMU, where they do not.
    pub lends_cpu_interface: bool,
}

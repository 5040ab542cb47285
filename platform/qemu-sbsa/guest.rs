// The facts of this board that the guests of the tests need (`tests/guest/src/board.rs`).

/// The RAM of the Normal world, 2 GiB. QEMU puts the device tree at its start.
pub const RAM: u64 = 0x100_0000_0000;
/// The address at which BL2 loads the SPMC.
pub const SPMC: u64 = 0x2000_2000;
/// The package of the first partition. The others follow at intervals of 1 MiB.
pub const PARTITIONS: u64 = 0x2030_0000;
/// Pages that belong to BL2 or to EL3.
pub const EL3: [u64; 4] = [0x2000_0000, 0x3fce_d000, 0x3fcf_0000, 0x3fff_f000];

/// The GiBs of the address space that hold devices, Secure memory or both.
pub const DEVICES: &[u64] = &[0, 1];
/// An address above all RAM.
pub const NOWHERE: u64 = 0x1_0000_0000_0000;
/// An address below the RAM at which the SPMC knows of nothing.
pub const HOLE: u64 = 0x1000_0000;

/// PL011 of the Normal world.
pub const NORMAL_UART: u64 = 0x6000_0000;
/// PL011 of the Secure world.
pub const SECURE_UART: u64 = 0x6003_0000;
/// PL061 of the Normal world.
pub const GPIO: u64 = 0x6002_0000;
/// PL031 of the Normal world.
pub const CLOCK: u64 = 0x6001_0000;
/// GICv3 distributor.
pub const GICD: u64 = 0x4006_0000;
/// GICv3 redistributors.
pub const GICR: u64 = 0x4008_0000;

/// A PrimeCell of the Secure world that nothing else uses: the second PL011.
pub const SPARE_DEVICE: u64 = 0x6004_0000;
/// The low byte of the part number of [`SPARE_DEVICE`].
pub const SPARE_PART: u32 = 0x11;
/// Offset of a register of [`SPARE_DEVICE`] that holds a byte: UARTIBRD.
pub const SPARE_REGISTER: u64 = 0x24;

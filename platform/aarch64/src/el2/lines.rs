//! Registers of single interrupts in the GICv3, for interrupts of partitions. The distributor's, for shared interrupts, and those of a
//! redistributor's SGI frame, for the private ones of a PE, have the same layout.
//!
//! Set-up is read, changed and written by the boot PE, or by the PE whose frame it is; all else is by registers in which each bit stands for
//! itself, so that PEs need no lock. Extended SPIs are not used.

use spmc::limits::MAX_PES;
use spmc::manifest::config::DeviceInterrupt;

use super::platform;
use crate::Board;

const IGROUPR: u64 = 0x80;
const ISENABLER: u64 = 0x100;
const ICENABLER: u64 = 0x180;
const ISPENDR: u64 = 0x200;
const ICACTIVER: u64 = 0x380;
const IPRIORITYR: u64 = 0x400;
const ICFGR: u64 = 0xc00;
const IGRPMODR: u64 = 0xd00;
/// Distributor only, eight bytes each, by INTID.
const IROUTER: u64 = 0x6000;

/// Frames of one PE: RD and SGI, 64 KiB each.
const FRAMES: u64 = 0x2_0000;
const SGI_FRAME: u64 = 0x1_0000;
/// In the RD frame.
const TYPER: u64 = 8;

/// Interrupts from here on are shared.
const FIRST_SHARED: u32 = 32;
/// Interrupts from here on are none.
const FIRST_SPECIAL: u32 = 1020;

/// One interrupt, on this PE if it is private.
pub struct Line {
    /// Address of the frame with its registers.
    frame: u64,
    id: u32,
}

impl Line {
    /// The interrupt with that INTID; `None` if there is no such, or no redistributor of this PE where the board data says.
    pub fn new(board: &Board, id: u32) -> Option<Self> {
        let frame = match id {
            0..FIRST_SHARED => own_frame(board)?,
            FIRST_SHARED..FIRST_SPECIAL => board.distributor,
            _ => return None,
        };
        Some(Self { frame, id })
    }

    /// Makes it a Secure Group 1 interrupt as the manifest says, disabled.
    pub fn configure(&self, interrupt: &DeviceInterrupt) {
        self.write_bit(ICENABLER);
        self.change(IGROUPR, 1, 0);
        self.change(IGRPMODR, 1, 1);
        if self.id >= 16 {
            // Two bits each, of which the upper one says edge.
            self.change(ICFGR, 2, if interrupt.is_level() { 0 } else { 2 });
        }
        // SAFETY: a byte register of this interrupt in a frame that stage 1 maps as device memory.
        unsafe {
            ((self.frame + IPRIORITYR + u64::from(self.id)) as *mut u8)
                .write_volatile(interrupt.priority());
        }
        self.route(interrupt.target.unwrap_or(platform::affinity()));
    }

    /// Routes it to the PE with that affinity. Private interrupts stay where they are.
    pub fn route(&self, affinity: u64) {
        if self.id >= FIRST_SHARED {
            let register = (self.frame + IROUTER + 8 * u64::from(self.id)) as *mut u64;
            // SAFETY: as above.
            unsafe { register.write_volatile(affinity) };
        }
    }

    /// Lets it through, or not.
    pub fn enable(&self, enable: bool) {
        self.write_bit(if enable { ISENABLER } else { ICENABLER });
    }

    /// Makes it inactive.
    pub fn deactivate(&self) {
        self.write_bit(ICACTIVER);
    }

    /// Whether it is pending.
    pub fn is_pending(&self) -> bool {
        let (register, bit) = self.field(ISPENDR, 1);
        // SAFETY: as above.
        unsafe { register.read_volatile() & 1 << bit != 0 }
    }

    /// The register of a block with `bits` for each interrupt, and the first of this interrupt's bits.
    fn field(&self, block: u64, bits: u32) -> (*mut u32, u32) {
        let bit = self.id * bits;
        let register = self.frame + block + u64::from(bit / 32 * 4);
        (register as *mut u32, bit % 32)
    }

    fn write_bit(&self, block: u64) {
        let (register, bit) = self.field(block, 1);
        // SAFETY: as above; writing ones changes only the interrupts that they stand for.
        unsafe { register.write_volatile(1 << bit) };
    }

    fn change(&self, block: u64, bits: u32, value: u32) {
        let (register, bit) = self.field(block, bits);
        let mask = ((1 << bits) - 1) << bit;
        // SAFETY: as above; nobody else changes set-up meanwhile.
        unsafe { register.write_volatile(register.read_volatile() & !mask | value << bit) };
    }
}

/// The SGI frame of this PE.
fn own_frame(board: &Board) -> Option<u64> {
    let affinity = platform::affinity();
    // GICR_TYPER has Aff3 next to the others.
    let compact = affinity >> 32 << 24 | affinity & 0xff_ffff;
    (0..MAX_PES as u64)
        .map(|n| board.redistributors + n * FRAMES)
        // SAFETY: the frames of MAX_PES PEs are mapped.
        .find(|frame| unsafe { ((frame + TYPER) as *const u64).read_volatile() } >> 32 == compact)
        .map(|frame| frame + SGI_FRAME)
}

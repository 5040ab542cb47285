//! Registers of single interrupts in the GICv3, for interrupts of partitions. The distributor's,
//! for shared interrupts, and those of a redistributor's SGI frame, for the private ones of a PE,
//! have the same layout.
//!
//! Set-up is read, changed and written by the boot PE, or by the PE whose frame it is; all else is
//! by registers in which each bit stands for itself, so that PEs need no lock. Extended SPIs, where
//! the GIC has them, have blocks of their own, of the same kind, in the distributor.

use spmc::limits::MAX_PES;
use spmc::manifest::config::DeviceInterrupt;

use crate::Board;
use crate::el2::affinity;

/// Offsets of a block of registers, and of the one for extended SPIs.
type Block = (u64, u64);

const IGROUPR: Block = (0x80, 0x1000);
const ISENABLER: Block = (0x100, 0x1200);
const ICENABLER: Block = (0x180, 0x1400);
const ICPENDR: Block = (0x280, 0x1800);
const ICACTIVER: Block = (0x380, 0x1c00);
const IPRIORITYR: Block = (0x400, 0x2000);
const ICFGR: Block = (0xc00, 0x3000);
const IGRPMODR: Block = (0xd00, 0x3400);
/// Distributor only, eight bytes each, by INTID.
const IROUTER: Block = (0x6000, 0x8000);

/// GICD_TYPER: in `[4:0]` the number of SPIs in units of 32, less one; bit 8, there are extended
/// SPIs, in `[31:27]` their number likewise.
const DISTRIBUTOR_TYPER: u64 = 4;
const HAS_EXTENDED: u32 = 1 << 8;

/// Frames of one PE: RD and SGI, 64 KiB each.
const FRAMES: u64 = 0x2_0000;
const SGI_FRAME: u64 = 0x1_0000;
/// In the RD frame.
const TYPER: u64 = 8;

/// Interrupts from here on are shared.
const FIRST_SHARED: u32 = 32;
/// Interrupts from here on are none.
const FIRST_SPECIAL: u32 = 1020;
/// Extended SPIs.
const FIRST_EXTENDED: u32 = 4096;
const BEHIND_EXTENDED: u32 = 5120;

/// One interrupt, on this PE if it is private.
pub struct Line {
    /// Address of the frame with its registers.
    frame: u64,
    id: u32,
}

impl Line {
    /// The interrupt with that INTID; `None` if no GIC has such, or there is no redistributor of
    /// this PE where the board data says.
    #[inline(always)]
    pub fn new(board: &Board, id: u32) -> Option<Self> {
        let frame = match id {
            0..FIRST_SHARED => own_frame(board)?,
            FIRST_SHARED..FIRST_SPECIAL | FIRST_EXTENDED..BEHIND_EXTENDED => board.distributor,
            _ => return None,
        };
        Some(Self { frame, id })
    }

    /// Returns whether this GIC has it.
    fn is_implemented(&self) -> bool {
        if self.id < FIRST_SHARED {
            return true;
        }
        // SAFETY: a register of the distributor, which stage 1 maps as device memory.
        let typer = unsafe { ((self.frame + DISTRIBUTOR_TYPER) as *const u32).read_volatile() };
        match self.id.checked_sub(FIRST_EXTENDED) {
            None => self.id < 32 * ((typer & 0x1f) + 1),
            Some(number) => typer & HAS_EXTENDED != 0 && number < 32 * ((typer >> 27) + 1),
        }
    }

    /// Makes it a Secure Group 1 interrupt as the manifest says, disabled, and neither active nor
    /// pending. Whether this GIC has it.
    pub fn configure(&self, interrupt: &DeviceInterrupt) -> bool {
        if !self.is_implemented() {
            return false;
        }
        self.write_bit(ICENABLER);
        self.deactivate();
        // Without effect on a level that is asserted.
        self.write_bit(ICPENDR);
        self.change(IGROUPR, 1, 0);
        self.change(IGRPMODR, 1, 1);
        if self.id >= 16 {
            // Two bits each, of which the upper one says edge.
            self.change(ICFGR, 2, if interrupt.is_level() { 0 } else { 2 });
        }
        let (block, number) = self.place(IPRIORITYR);
        // SAFETY: a byte register of this interrupt in a frame that stage 1 maps as device memory.
        unsafe { ((block + number) as *mut u8).write_volatile(interrupt.priority()) };
        self.route(interrupt.target.unwrap_or(affinity::own()));
        true
    }

    /// Routes it to the PE with that affinity. Private interrupts stay where they are.
    pub fn route(&self, affinity: u64) {
        if self.id >= FIRST_SHARED {
            let (block, number) = self.place(IROUTER);
            // SAFETY: as above.
            unsafe { ((block + 8 * number) as *mut u64).write_volatile(affinity) };
        }
    }

    /// Returns whether it is a shared interrupt that is routed to the PE with that affinity.
    pub fn is_routed_to(&self, affinity: u64) -> bool {
        if self.id < FIRST_SHARED {
            return false;
        }
        let (block, number) = self.place(IROUTER);
        // SAFETY: as above.
        unsafe { ((block + 8 * number) as *const u64).read_volatile() == affinity }
    }

    /// Lets it through, or not.
    pub fn enable(&self, enable: bool) {
        self.write_bit(if enable { ISENABLER } else { ICENABLER });
    }

    /// Makes it inactive.
    pub fn deactivate(&self) {
        self.write_bit(ICACTIVER);
    }

    /// The register of a block with `bits` for each interrupt, and the first of this interrupt's
    /// bits.
    fn field(&self, block: Block, bits: u32) -> (*mut u32, u32) {
        let (block, number) = self.place(block);
        let bit = number as u32 * bits;
        let register = block + u64::from(bit / 32 * 4);
        (register as *mut u32, bit % 32)
    }

    /// The address of the block of registers that the interrupt belongs to, and its number there.
    fn place(&self, (block, extended): Block) -> (u64, u64) {
        match self.id.checked_sub(FIRST_EXTENDED) {
            Some(number) => (self.frame + extended, number.into()),
            None => (self.frame + block, self.id.into()),
        }
    }

    fn write_bit(&self, block: Block) {
        let (register, bit) = self.field(block, 1);
        // SAFETY: as above; writing ones changes only the interrupts that they stand for.
        unsafe { register.write_volatile(1 << bit) };
    }

    fn change(&self, block: Block, bits: u32, value: u32) {
        let (register, bit) = self.field(block, bits);
        let mask = ((1 << bits) - 1) << bit;
        // SAFETY: as above; nobody else changes set-up meanwhile.
        unsafe { register.write_volatile(register.read_volatile() & !mask | value << bit) };
    }
}

/// The SGI frame of this PE.
#[inline(never)]
fn own_frame(board: &Board) -> Option<u64> {
    let affinity = affinity::own();
    // GICR_TYPER has Aff3 next to the others.
    let compact = affinity >> 32 << 24 | affinity & 0xff_ffff;
    (0..MAX_PES as u64)
        .map(|n| board.redistributors + n * FRAMES)
        // SAFETY: the frames of MAX_PES PEs are mapped.
        .find(|frame| unsafe { ((frame + TYPER) as *const u64).read_volatile() } >> 32 == compact)
        .map(|frame| frame + SGI_FRAME)
}

//! Registers of single interrupts in the GICv3, for the interrupts of partitions. Shared interrupts
//! have theirs in the distributor. Private interrupts have theirs in the SGI frame of each PE's
//! redistributor, with the same layout. Extended SPIs, where the GIC implements them, have further
//! blocks of registers of the same kind in the distributor.
//!
//! No lock is needed. The boot PE, or the PE to which the frame belongs, sets an interrupt up by
//! reading, changing and writing registers. All other accesses write registers in which each bit
//! stands for one interrupt and zeros have no effect.

use spmc::limits::MAX_PES;
use spmc::manifest::config::DeviceInterrupt;

use crate::Board;
use crate::el2::affinity;

/// Offsets of two blocks of registers: for INTIDs below 1020, and for extended SPIs.
type Block = (u64, u64);

const IGROUPR: Block = (0x80, 0x1000);
const ISENABLER: Block = (0x100, 0x1200);
const ICENABLER: Block = (0x180, 0x1400);
const ICPENDR: Block = (0x280, 0x1800);
const ICACTIVER: Block = (0x380, 0x1c00);
const IPRIORITYR: Block = (0x400, 0x2000);
const ICFGR: Block = (0xc00, 0x3000);
const IGRPMODR: Block = (0xd00, 0x3400);
/// In the distributor only: eight bytes for each interrupt.
const IROUTER: Block = (0x6000, 0x8000);

/// GICD_TYPER: bits `[4:0]` are the number of SPIs and private interrupts in units of 32, less one;
/// bit 8 says that there are extended SPIs; bits `[31:27]` are their number in units of 32, less
/// one.
const DISTRIBUTOR_TYPER: u64 = 4;
const HAS_EXTENDED: u32 = 1 << 8;

/// Bytes of the two frames of one PE, RD and SGI, of 64 KiB each.
const FRAMES: u64 = 0x2_0000;
const SGI_FRAME: u64 = 0x1_0000;
/// GICR_TYPER, in the RD frame.
const TYPER: u64 = 8;

/// The first INTID of shared interrupts.
const FIRST_SHARED: u32 = 32;
/// The first INTID after those of the shared interrupts: 1020 to 1023 are special.
const FIRST_SPECIAL: u32 = 1020;
/// The first INTID of extended SPIs.
const FIRST_EXTENDED: u32 = 4096;
const BEHIND_EXTENDED: u32 = 5120;

/// One interrupt. A private one is that of this PE.
pub struct Interrupt {
    /// Address of the frame with its registers.
    frame: u64,
    id: u32,
}

impl Interrupt {
    /// Returns the interrupt with that INTID. Returns `None` if no GIC has such an interrupt, or if
    /// there is no redistributor of this PE where the board data says.
    #[inline(always)]
    pub fn new(board: &Board, id: u32) -> Option<Self> {
        let frame = match id {
            0..FIRST_SHARED => own_frame(board)?,
            FIRST_SHARED..FIRST_SPECIAL | FIRST_EXTENDED..BEHIND_EXTENDED => board.distributor,
            _ => return None,
        };
        Some(Self { frame, id })
    }

    /// Returns whether this GIC implements the interrupt.
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

    /// Makes the interrupt a Secure Group 1 interrupt with the priority, trigger and target that
    /// the manifest states: disabled, not active and, unless its level is asserted, not pending.
    /// Returns whether this GIC implements the interrupt.
    pub fn configure(&self, interrupt: &DeviceInterrupt) -> bool {
        if !self.is_implemented() {
            return false;
        }
        self.write_bit(ICENABLER);
        self.deactivate();
        // The GIC ignores this for a level-sensitive interrupt whose signal is asserted.
        self.write_bit(ICPENDR);
        self.change(IGROUPR, 1, 0);
        self.change(IGRPMODR, 1, 1);
        if self.id >= 16 {
            // A field has two bits, of which the upper one means edge-triggered.
            self.change(ICFGR, 2, if interrupt.is_level() { 0 } else { 2 });
        }
        let (block, number) = self.place(IPRIORITYR);
        // SAFETY: a byte register of this interrupt in a frame that stage 1 maps as device memory.
        unsafe { ((block + number) as *mut u8).write_volatile(interrupt.priority()) };
        self.route(interrupt.target.unwrap_or(affinity::own()));
        true
    }

    /// Routes a shared interrupt to the PE with that affinity. Does nothing for a private one.
    pub fn route(&self, affinity: u64) {
        if self.id >= FIRST_SHARED {
            let (block, number) = self.place(IROUTER);
            // SAFETY: GICD_IROUTER of this interrupt, in a frame that stage 1 maps as Device
            // memory.
            unsafe { ((block + 8 * number) as *mut u64).write_volatile(affinity) };
        }
    }

    /// Returns whether this is a shared interrupt that is routed to the PE with that affinity.
    pub fn is_routed_to(&self, affinity: u64) -> bool {
        if self.id < FIRST_SHARED {
            return false;
        }
        let (block, number) = self.place(IROUTER);
        // SAFETY: as in `route`; a read has no side effect.
        unsafe { ((block + 8 * number) as *const u64).read_volatile() == affinity }
    }

    /// Enables or disables the interrupt.
    pub fn enable(&self, enable: bool) {
        self.write_bit(if enable { ISENABLER } else { ICENABLER });
    }

    /// Makes the interrupt inactive.
    pub fn deactivate(&self) {
        self.write_bit(ICACTIVER);
    }

    /// Returns the register in a block with `bits` for each interrupt, and the position of this
    /// interrupt's lowest bit in the register.
    fn field(&self, block: Block, bits: u32) -> (*mut u32, u32) {
        let (block, number) = self.place(block);
        let bit = number as u32 * bits;
        let register = block + u64::from(bit / 32 * 4);
        (register as *mut u32, bit % 32)
    }

    /// Returns the address of the block for this kind of interrupt, and the number of this
    /// interrupt in the block.
    fn place(&self, (block, extended): Block) -> (u64, u64) {
        match self.id.checked_sub(FIRST_EXTENDED) {
            Some(number) => (self.frame + extended, number.into()),
            None => (self.frame + block, self.id.into()),
        }
    }

    fn write_bit(&self, block: Block) {
        let (register, bit) = self.field(block, 1);
        // SAFETY: a register in a frame that stage 1 maps as Device memory. Zeros have no effect,
        // so only this interrupt changes.
        unsafe { register.write_volatile(1 << bit) };
    }

    fn change(&self, block: Block, bits: u32, value: u32) {
        let (register, bit) = self.field(block, bits);
        let mask = ((1 << bits) - 1) << bit;
        // SAFETY: a register in a frame that stage 1 maps as Device memory. Only the boot PE, or
        // the PE to which the frame belongs, gets here, so that no change of another PE is lost.
        unsafe { register.write_volatile(register.read_volatile() & !mask | value << bit) };
    }
}

/// Returns the address of the SGI frame of this PE.
#[inline(never)]
fn own_frame(board: &Board) -> Option<u64> {
    let affinity = affinity::own();
    // GICR_TYPER holds Aff3 next to the other fields.
    let compact = affinity >> 32 << 24 | affinity & 0xff_ffff;
    (0..MAX_PES as u64)
        .map(|n| board.redistributors + n * FRAMES)
        // SAFETY: stage 1 maps the frames of MAX_PES PEs as Device memory.
        .find(|frame| unsafe { ((frame + TYPER) as *const u64).read_volatile() } >> 32 == compact)
        .map(|frame| frame + SGI_FRAME)
}

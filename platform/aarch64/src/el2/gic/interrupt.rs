//! Registers of single interrupts in the GICv3 (Arm IHI 0069, 12.9 and 12.11). Shared interrupts
//! have theirs in the distributor. Private interrupts have theirs in the SGI frame of each PE's
//! redistributor, with the same layout. Extended SPIs, where the GIC implements them, have further
//! blocks of registers of the same kind in the distributor. Extended PPIs follow the other private
//! interrupts: `GICR_IGROUPR<n>E` is the word behind GICR_IGROUPR0, and so on.
//!
//! No lock is needed. The boot PE, or the PE to which the frame belongs, sets an interrupt up by
//! reading, changing and writing registers. All other accesses write registers in which each bit
//! stands for one interrupt and zeros have no effect.

use spmc::manifest::config::DeviceInterrupt;

use super::frames;
use crate::el2::affinity;
use crate::el2::cpu::header;
use crate::field::changed;

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

/// The first INTID of shared interrupts.
const FIRST_SHARED: u32 = 32;
/// The first INTID after those of the shared interrupts: 1020 to 1023 are special.
const FIRST_SPECIAL: u32 = 1020;
/// INTIDs of extended PPIs.
const FIRST_EXTENDED_PPI: u32 = 1056;
const BEHIND_EXTENDED_PPIS: u32 = 1120;
/// The first INTID of extended SPIs.
const FIRST_EXTENDED: u32 = 4096;
const BEHIND_EXTENDED: u32 = 5120;

/// The group of an interrupt, which is that of the world that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Secure Group 1.
    Secure,
    /// Non-secure Group 1.
    NonSecure,
}

/// One interrupt. A private one is that of this PE.
pub struct Interrupt {
    /// Address of the frame with its registers.
    frame: u64,
    /// Its number in each block of registers.
    number: u32,
    kind: Kind,
}

/// The place and the layout of an interrupt's registers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Private,
    Shared,
    ExtendedShared,
}

impl Interrupt {
    /// Returns the shared interrupt with that INTID, if it is one that is not extended.
    #[inline(always)]
    pub fn shared(id: u32) -> Option<Self> {
        (FIRST_SHARED..FIRST_SPECIAL).contains(&id).then(|| Self {
            frame: frames::distributor(),
            number: id,
            kind: Kind::Shared,
        })
    }

    /// Returns the interrupt with that INTID. Returns `None` if no GIC has such an interrupt, or if
    /// there is no redistributor of this PE.
    #[inline(never)]
    pub fn find(id: u32) -> Option<Self> {
        let (frame, number, kind) = match id {
            FIRST_SHARED..FIRST_SPECIAL => return Self::shared(id),
            0..FIRST_SHARED => (header::private_frame().base, id, Kind::Private),
            // Their registers follow those of the other private interrupts.
            FIRST_EXTENDED_PPI..BEHIND_EXTENDED_PPIS => {
                let number = FIRST_SHARED + (id - FIRST_EXTENDED_PPI);
                (header::private_frame().base, number, Kind::Private)
            }
            FIRST_EXTENDED..BEHIND_EXTENDED => {
                let number = id - FIRST_EXTENDED;
                (frames::distributor(), number, Kind::ExtendedShared)
            }
            _ => return None,
        };
        (frame != 0).then_some(Self {
            frame,
            number,
            kind,
        })
    }

    /// Returns whether this GIC implements the interrupt.
    fn is_implemented(&self) -> bool {
        if self.kind == Kind::Private {
            return self.number < header::private_frame().count;
        }
        // SAFETY: a register of the distributor, which stage 1 maps as device memory.
        let typer = unsafe { ((self.frame + DISTRIBUTOR_TYPER) as *const u32).read_volatile() };
        if self.kind == Kind::Shared {
            self.number < 32 * ((typer & 0x1f) + 1)
        } else {
            typer & HAS_EXTENDED != 0 && self.number < 32 * ((typer >> 27) + 1)
        }
    }

    /// Makes the interrupt a Secure Group 1 interrupt with the priority, trigger and target that
    /// the manifest states: disabled, not active and, unless its level is asserted, not pending.
    /// Returns whether this GIC implements the interrupt.
    pub fn configure(&self, interrupt: &DeviceInterrupt) -> bool {
        if !self.is_implemented() {
            return false;
        }
        self.enable(false);
        self.deactivate();
        // The GIC ignores this for a level-sensitive interrupt whose signal is asserted.
        self.write_bit(ICPENDR);
        self.set_group(Group::Secure);
        if self.kind != Kind::Private || self.number >= 16 {
            // A field has two bits, of which the upper one means edge-triggered.
            self.change(ICFGR, 2, if interrupt.is_level() { 0 } else { 2 });
        }
        self.set_priority(interrupt.priority());
        self.route(interrupt.target.unwrap_or(affinity::own()));
        true
    }

    /// Puts the interrupt into a group (Arm IHI 0069, 12.9.7: GICD_IGRPMODR).
    pub fn set_group(&self, group: Group) {
        let (group, modifier) = match group {
            Group::Secure => (0, 1),
            Group::NonSecure => (1, 0),
        };
        self.change(IGROUPR, 1, group);
        self.change(IGRPMODR, 1, modifier);
    }

    /// Sets the priority.
    pub fn set_priority(&self, priority: u8) {
        let (block, number) = self.place(IPRIORITYR);
        // SAFETY: a byte register of this interrupt in a frame that stage 1 maps as device memory.
        unsafe { ((block + number) as *mut u8).write_volatile(priority) };
    }

    /// Routes a shared interrupt to the PE with that affinity. Does nothing for a private one.
    pub fn route(&self, affinity: u64) {
        if self.kind != Kind::Private {
            let (block, number) = self.place(IROUTER);
            // SAFETY: GICD_IROUTER of this interrupt, in a frame that stage 1 maps as Device
            // memory.
            unsafe { ((block + 8 * number) as *mut u64).write_volatile(affinity) };
        }
    }

    /// Returns whether this is a shared interrupt that is routed to the PE with that affinity.
    pub fn is_routed_to(&self, affinity: u64) -> bool {
        if self.kind == Kind::Private {
            return false;
        }
        let (block, number) = self.place(IROUTER);
        // SAFETY: as in `route`; a read has no side effect.
        unsafe { ((block + 8 * number) as *const u64).read_volatile() == affinity }
    }

    /// Enables or disables the interrupt. Once it is disabled, no PE is interrupted by it any more.
    #[inline]
    pub fn enable(&self, enable: bool) {
        if enable {
            self.write_bit(ISENABLER);
        } else {
            self.write_bit(ICENABLER);
            self.wait();
        }
    }

    /// Waits until the GIC has carried out the last write of ICENABLER (GICv3 12, GICD_CTLR.RWP and
    /// GICR_CTLR.RWP). To change the group, priority or trigger earlier is UNPREDICTABLE. The bound
    /// is for a GIC that never says so.
    #[inline(never)]
    fn wait(&self) {
        const PATIENCE: u32 = 1_000_000;
        let (control, pending) = match self.kind {
            // In the frame before this one, which is mapped, too.
            Kind::Private => (self.frame - frames::SGI_FRAME, 1 << 3),
            Kind::Shared | Kind::ExtendedShared => (self.frame, 1 << 31),
        };
        for _ in 0..PATIENCE {
            // SAFETY: GICR_CTLR or GICD_CTLR, in a frame that stage 1 maps as Device memory; a read
            // has no side effect.
            if unsafe { (control as *const u32).read_volatile() } & pending == 0 {
                break;
            }
        }
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
    #[inline(always)]
    fn place(&self, (block, extended): Block) -> (u64, u64) {
        let block = match self.kind {
            Kind::ExtendedShared => extended,
            Kind::Private | Kind::Shared => block,
        };
        (self.frame + block, self.number.into())
    }

    fn write_bit(&self, block: Block) {
        let (register, bit) = self.field(block, 1);
        // SAFETY: a register in a frame that stage 1 maps as Device memory. Zeros have no effect,
        // so only this interrupt changes.
        unsafe { register.write_volatile(1 << bit) };
    }

    /// Sets a field of a register that has fields of other interrupts, too, some of them of the
    /// Normal world. Only boot finds anything to change, since the Normal world cannot access the
    /// fields of Secure interrupts: a partition that starts again writes nothing, so that no change
    /// is lost that the Normal world makes in the same register at the same time.
    fn change(&self, block: Block, bits: u32, value: u32) {
        let (register, bit) = self.field(block, bits);
        // SAFETY: a register in a frame that stage 1 maps as Device memory. Only the boot PE, or
        // the PE to which the frame belongs, finds a difference, so that no change of another PE is
        // lost.
        unsafe {
            if let Some(after) = changed(register.read_volatile(), bit, bits, value) {
                register.write_volatile(after);
            }
        }
    }
}

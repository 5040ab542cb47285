//! Defines what every FF-A endpoint has, a Secure Partition and the Normal world alike.

use crate::error::FfaError;
use crate::ffa::Version;
use crate::id::PartitionId;
use crate::mm::AddressSpace;
use crate::partition::Mailbox;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};

/// An endpoint: id, negotiated version, mailbox and memory.
///
/// Boot sets id and version before the partition first runs, and again when the partition is loaded
/// again.
pub struct Endpoint {
    id: AtomicU16,
    /// The newest version that the endpoint can have.
    offered: AtomicU32,
    /// Bit 31: negotiation has ended. Bit 30: a version was negotiated. Low bits: the version in
    /// force, which is compatible, so that these bits are free.
    version: AtomicU32,
    /// Set once a 1.0 endpoint has asked whether responses tell the security state; then they do.
    asked_for_security_state: AtomicBool,
    /// Set if its calls may be paused.
    may_be_paused: AtomicBool,
    /// RX and TX.
    pub mailbox: Mutex<Mailbox>,
    /// Its memory: stage 2 of a partition, a shadow without hardware for the Normal world.
    pub memory: Mutex<AddressSpace>,
}

/// Set in `Endpoint::version` once any call other than FFA_VERSION was made.
const ENDED: u32 = 1 << 31;
/// Set in `Endpoint::version` once the endpoint has negotiated.
const NEGOTIATED: u32 = 1 << 30;

/// w2 of FFA_VERSION (1.3): is the version compatible?
const QUERY_COMPATIBILITY: u32 = 1;
/// w2 of FFA_VERSION (1.3): which version was negotiated?
const QUERY_NEGOTIATED: u32 = 2;

impl Endpoint {
    /// The initial value: the Normal world, or a slot that is still empty.
    pub const fn new() -> Self {
        Self {
            id: AtomicU16::new(0),
            offered: AtomicU32::new(Version::OWN.to_word()),
            version: AtomicU32::new(0),
            asked_for_security_state: AtomicBool::new(false),
            may_be_paused: AtomicBool::new(false),
            mailbox: Mutex::new(Mailbox::new()),
            memory: Mutex::new(AddressSpace::EMPTY),
        }
    }

    /// Names the endpoint and sets the version in force until it negotiates one.
    pub fn init(&self, id: PartitionId, version: Version) {
        self.id.store(id.0, Ordering::Relaxed);
        self.version.store(version.to_word(), Ordering::Relaxed);
    }

    /// Returns its partition id; for the Normal world that of the Hypervisor or OS kernel.
    pub fn id(&self) -> PartitionId {
        PartitionId(self.id.load(Ordering::Relaxed))
    }

    /// Returns the version in force, which decides the layout of all messages to and from the
    /// endpoint.
    pub fn version(&self) -> Version {
        version_in(self.version.load(Ordering::Relaxed))
    }

    /// Offers the endpoint no version newer than `newest`.
    pub fn offer(&self, newest: Version) {
        self.offered.store(newest.to_word(), Ordering::Relaxed);
    }

    /// Notes that the endpoint said in `FFA_FEATURES` that it understands the NS attribute (FF-A
    /// v1.1 section 10.10.4).
    pub fn ask_for_security_state(&self) {
        self.asked_for_security_state.store(true, Ordering::Relaxed);
    }

    /// Returns whether the NS attribute may be set in what the endpoint retrieves: from 1.1 on, or
    /// if it asked.
    pub fn is_told_security_state(&self) -> bool {
        self.version() >= Version::V1_1 || self.asked_for_security_state.load(Ordering::Relaxed)
    }

    /// Lets calls of the endpoint be paused (FF-A v1.0 section 12.2.3.3). Boot calls this for
    /// partitions at S-EL1.
    pub fn allow_pauses(&self) {
        self.may_be_paused.store(true, Ordering::Relaxed);
    }

    /// Returns whether memory-management calls of the endpoint may be paused, if it wants that.
    pub fn may_be_paused(&self) -> bool {
        self.may_be_paused.load(Ordering::Relaxed)
    }

    /// Handles `FFA_VERSION` with `word` in w1 and `flags` in w2 (FF-A v1.0 section 8.1, v1.3
    /// 13.2). Returns the value for w0.
    ///
    /// That is the newest version that the endpoint is offered, if its own is compatible or newer;
    /// the version in force becomes the lower of the two. `NOT_SUPPORTED` if the word is malformed,
    /// older than 1.0, or asks for another version than that in force while negotiation has ended.
    ///
    /// From 1.3 on `flags` make the call a query, which changes nothing; `NOT_SUPPORTED` for other
    /// flags. Older callers know no flags, and may leave anything there.
    pub fn negotiate(&self, word: u32, flags: u32) -> u32 {
        let refused = FfaError::NotSupported.to_reg() as u32;
        let asked = Version::from_word(word).filter(|asked| *asked >= Version::V1_0);
        let Some(asked) = asked else { return refused };
        let relaxed = Ordering::Relaxed;
        let offered = version_in(self.offered.load(relaxed));
        match if asked >= Version::V1_3 { flags } else { 0 } {
            0 => {}
            QUERY_COMPATIBILITY => return offered.to_word(),
            QUERY_NEGOTIATED => {
                let found = self.version.load(relaxed);
                let is_negotiated = found & NEGOTIATED != 0;
                return if is_negotiated {
                    version_in(found).to_word()
                } else {
                    0
                };
            }
            _ => return refused,
        }
        // Another PE may end negotiation meanwhile: that must stay.
        let is_compatible = asked.major() == offered.major();
        let lower = asked.min(offered);
        let negotiate = |found: u32| {
            let next = if is_compatible {
                lower.to_word() | NEGOTIATED
            } else {
                found
            };
            (found & ENDED == 0).then_some(next)
        };
        match self.version.fetch_update(relaxed, relaxed, negotiate) {
            Err(found) if !is_compatible || version_in(found) != lower => refused,
            _ => offered.to_word(),
        }
    }

    /// Ends negotiation: the endpoint made a call other than FFA_VERSION.
    #[inline(always)]
    pub fn end_negotiation(&self) {
        if self.version.load(Ordering::Relaxed) & ENDED == 0 {
            self.end_negotiation_now();
        }
    }

    #[cold]
    #[inline(never)]
    fn end_negotiation_now(&self) {
        // Another PE may be negotiating: what it stored must stay.
        self.version.fetch_or(ENDED, Ordering::Relaxed);
    }

    /// Returns whether the endpoint speaks 1.3, the newest version.
    #[inline(always)]
    pub fn is_at_1_3(&self) -> bool {
        // Every version in force has the same major number.
        self.version.load(Ordering::Relaxed) as u16 >= Version::V1_3.minor()
    }

    /// Lets the endpoint negotiate again. The Normal world may do so when it gives up its RX/TX
    /// pair: in this way a boot loader leaves the framework to an operating system that speaks a
    /// newer version.
    pub fn reopen_negotiation(&self) {
        let kept = !(ENDED | NEGOTIATED);
        self.version.fetch_and(kept, Ordering::Relaxed);
    }
}

/// Returns the version in a word of an endpoint.
const fn version_in(word: u32) -> Version {
    Version::new((word >> 16) as u16 & 0x3fff, word as u16)
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(version: Version) -> Endpoint {
        let endpoint = Endpoint::new();
        endpoint.init(PartitionId(0x8001), version);
        endpoint
    }

    const OWN: u32 = 0x1_0003;
    const REFUSED: u32 = u32::MAX;

    // req: VER-04, VER-05, VER-09
    #[test]
    fn the_lower_version_comes_into_force() {
        let sp = endpoint(Version::V1_1);
        assert_eq!(sp.version(), Version::V1_1);
        assert_eq!(sp.negotiate(0x1_0000, 0), OWN);
        assert_eq!(sp.version(), Version::V1_0);
        assert_eq!(sp.negotiate(0x1_0009, 0), OWN);
        assert_eq!(sp.version(), Version::V1_3);
        sp.offer(Version::V1_2);
        assert_eq!(sp.negotiate(0x1_0003, 0), 0x1_0002);
        assert_eq!(sp.version(), Version::V1_2);
    }

    // req: VER-06, VER-07
    #[test]
    fn malformed_and_older_words_are_not_supported() {
        let sp = endpoint(Version::V1_1);
        assert_eq!(sp.negotiate(0x8001_0000, 0), REFUSED);
        assert_eq!(sp.negotiate(0x0000_0009, 0), REFUSED);
        assert_eq!(sp.negotiate(0x0002_0000, 0), OWN);
        assert_eq!(sp.version(), Version::V1_1);
    }

    // req: VER-13
    #[test]
    fn another_version_after_another_call_is_not_supported() {
        let sp = endpoint(Version::V1_2);
        sp.negotiate(0x1_0001, 0);
        sp.end_negotiation();
        assert_eq!(sp.negotiate(0x1_0001, 0), OWN);
        assert_eq!(sp.negotiate(0x1_0002, 0), REFUSED);
        assert_eq!(sp.negotiate(0x2_0000, 0), REFUSED);
        assert_eq!(sp.version(), Version::V1_1);
    }

    // req: VER-16
    #[test]
    fn negotiation_can_be_reopened() {
        let nwd = endpoint(Version::OWN);
        nwd.negotiate(0x1_0000, 0);
        nwd.end_negotiation();
        nwd.reopen_negotiation();
        assert_eq!(nwd.negotiate(0x1_0003, 2), 0);
        assert_eq!(nwd.version(), Version::V1_0);
        assert_eq!(nwd.negotiate(0x1_0002, 0), OWN);
        assert_eq!(nwd.version(), Version::V1_2);
    }

    // req: VER-15
    #[test]
    fn flags_of_1_3_ask_and_change_nothing() {
        let sp = endpoint(Version::V1_1);
        for ended in [false, true] {
            assert_eq!(sp.negotiate(0x1_0003, 1), OWN);
            assert_eq!(sp.negotiate(0x2_0000, 1), OWN);
            assert_eq!(sp.negotiate(0x1_0003, 2), if ended { 0x1_0001 } else { 0 });
            for bad in [3, 4, 1 << 31, u32::MAX] {
                assert_eq!(sp.negotiate(0x1_0003, bad), REFUSED);
            }
            assert_eq!(sp.version(), Version::V1_1);
            // An older caller has no flags.
            assert_eq!(sp.negotiate(0x1_0001, u32::MAX), OWN);
            sp.end_negotiation();
        }
    }
}

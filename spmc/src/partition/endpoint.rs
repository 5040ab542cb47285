//! Defines what every FF-A endpoint has, a Secure Partition and the Normal world alike.

use crate::error::{FfaError, Result};
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
    /// Bit 31: negotiation has ended. Low bits: the version as the endpoint gave it.
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
const NEGOTIATED: u32 = 1 << 31;

impl Endpoint {
    /// The initial value: the Normal world, or a slot that is still empty.
    pub const fn new() -> Self {
        Self {
            id: AtomicU16::new(0),
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
        let given = self.version.load(Ordering::Relaxed) & !NEGOTIATED;
        Version::from_word(given)
            .unwrap_or(Version::OWN)
            .min(Version::OWN)
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

    /// Handles `FFA_VERSION` with `word` in w1 (FF-A v1.0 section 8.1). Returns the value for w0.
    ///
    /// That is the SPMC's version if the caller's is compatible or newer; the version in force
    /// becomes the lower of the two. `NOT_SUPPORTED` if the word is malformed, older than 1.0, or
    /// differs from the one given before while negotiation has ended.
    pub fn negotiate(&self, word: u32) -> Result<Version> {
        let asked = Version::from_word(word).ok_or(FfaError::NotSupported)?;
        if asked < Version::V1_0 {
            return Err(FfaError::NotSupported);
        }
        // Another PE may end negotiation meanwhile: that must stay.
        let is_compatible = asked.major() == Version::OWN.major();
        let negotiate = |given: u32| {
            let next = if is_compatible { word } else { given };
            (given & NEGOTIATED == 0).then_some(next)
        };
        let relaxed = Ordering::Relaxed;
        match self.version.fetch_update(relaxed, relaxed, negotiate) {
            Err(given) if given & !NEGOTIATED != word => Err(FfaError::NotSupported),
            _ => Ok(Version::OWN),
        }
    }

    /// Ends negotiation: the endpoint made a call other than FFA_VERSION.
    pub fn end_negotiation(&self) {
        let given = self.version.load(Ordering::Relaxed);
        if given & NEGOTIATED == 0 {
            // Another PE may be negotiating: what it stored must stay.
            self.version.fetch_or(NEGOTIATED, Ordering::Relaxed);
        }
    }

    /// Lets the endpoint negotiate again. The Normal world may do so when it gives up its RX/TX
    /// pair: in this way a boot loader leaves the framework to an operating system that speaks a
    /// newer version.
    pub fn reopen_negotiation(&self) {
        self.version.fetch_and(!NEGOTIATED, Ordering::Relaxed);
    }
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

    // req: VER-04, VER-05, VER-09
    #[test]
    fn the_lower_version_comes_into_force() {
        let sp = endpoint(Version::V1_1);
        assert_eq!(sp.version(), Version::V1_1);
        assert_eq!(sp.negotiate(0x1_0000), Ok(Version::OWN));
        assert_eq!(sp.version(), Version::V1_0);
        assert_eq!(sp.negotiate(0x1_0009), Ok(Version::OWN));
        assert_eq!(sp.version(), Version::V1_2);
    }

    // req: VER-06, VER-07
    #[test]
    fn malformed_and_older_words_are_not_supported() {
        let sp = endpoint(Version::V1_1);
        assert_eq!(sp.negotiate(0x8001_0000), Err(FfaError::NotSupported));
        assert_eq!(sp.negotiate(0x0000_0009), Err(FfaError::NotSupported));
        assert_eq!(sp.negotiate(0x0002_0000), Ok(Version::OWN));
        assert_eq!(sp.version(), Version::V1_1);
    }

    // req: VER-13
    #[test]
    fn another_version_after_another_call_is_not_supported() {
        let sp = endpoint(Version::V1_2);
        sp.negotiate(0x1_0001).unwrap();
        sp.end_negotiation();
        assert_eq!(sp.negotiate(0x1_0001), Ok(Version::OWN));
        assert_eq!(sp.negotiate(0x1_0002), Err(FfaError::NotSupported));
        assert_eq!(sp.version(), Version::V1_1);
    }

    // req: VER-16
    #[test]
    fn negotiation_can_be_reopened() {
        let nwd = endpoint(Version::OWN);
        nwd.negotiate(0x1_0000).unwrap();
        nwd.end_negotiation();
        nwd.reopen_negotiation();
        assert_eq!(nwd.negotiate(0x1_0002), Ok(Version::OWN));
        assert_eq!(nwd.version(), Version::V1_2);
    }
}

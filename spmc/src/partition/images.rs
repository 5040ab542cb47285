//! The packages of a partition that can be loaded again: which copy holds the one that is known to
//! be good, and the new one of a live activation.
//!
//! A partition has no copies, or one with `abort-action` restart, or two with
//! `live-activation-support`, if there is room. Only the SPMC can change a copy. A new package goes
//! to the copy that does not hold the good one, and is the good one once its image has initialised.

use crate::addr::Pa;
use crate::manifest::package::Package;

/// A package that can be loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Where its header is.
    pub base: Pa,
    /// Where its parts are from there on.
    pub package: Package,
    /// The index of the copy that it lies in.
    pub copy: usize,
}

/// The packages of one partition.
#[derive(Debug)]
pub struct Images {
    /// The package that is known to be good, if a copy holds it.
    good: Option<Stored>,
    /// The package that is to be loaded, or was.
    new: Option<Stored>,
    /// Set while an image initialises that takes the place of another.
    is_on_trial: bool,
    /// Set while a pair of RX/TX buffers is registered that an earlier image registered.
    keeps_buffers: bool,
}

impl Images {
    /// Makes the record of a partition that boots from a package which the copy `good` holds, if
    /// there is one.
    pub const fn new(good: Option<Stored>) -> Self {
        Self {
            good,
            new: None,
            is_on_trial: false,
            keeps_buffers: false,
        }
    }

    /// Returns the package that is known to be good, if a copy holds it.
    pub fn good(&self) -> Option<Stored> {
        self.good
    }

    /// Returns the index of the copy that a new package goes to, if the partition has that many.
    pub fn spare(&self) -> usize {
        match self.good {
            Some(Stored { copy: 0, .. }) => 1,
            _ => 0,
        }
    }

    /// Returns the package of [`Self::stage`].
    pub fn new_one(&self) -> Option<Stored> {
        self.new
    }

    /// Notes the package that is to be loaded.
    pub fn stage(&mut self, new: Stored) {
        self.new = Some(new);
    }

    /// Begins the trial of an image that takes over what the one before has left, its buffers
    /// included.
    pub fn begin_trial(&mut self) {
        self.is_on_trial = true;
        self.keeps_buffers = true;
    }

    /// Returns whether the good package is to be loaded if the partition fails now.
    pub fn can_go_back(&self) -> bool {
        self.is_on_trial
    }

    /// Ends a trial: the new package is the good one if it `is_new`.
    pub fn end_trial(&mut self, is_new: bool) {
        self.is_on_trial = false;
        self.keeps_buffers = false;
        if is_new {
            self.good = self.new;
        }
    }

    /// Returns whether the pair of buffers is that of an earlier image.
    pub fn keeps_buffers(&self) -> bool {
        self.keeps_buffers
    }

    /// Notes that the pair of buffers is that of the image that runs, or that there is none.
    pub fn own_buffers(&mut self) {
        self.keeps_buffers = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PageRange;
    use crate::manifest::ManifestError;

    /// Returns a package with an image of that size, in a copy.
    fn stored(copy: usize, size: u32) -> Stored {
        let memory = PageRange::new(Pa::new(0), 16).unwrap();
        let header = [0x474b_5053, 2, 0x1000, 8, 0x2000, size];
        let header = header.map(u32::to_le_bytes);
        let package = Package::parse::<ManifestError>(memory, &mut |_, to| {
            to.copy_from_slice(header.as_flattened());
            Ok(())
        });
        Stored {
            base: Pa::new(0x1000 * (copy as u64 + 1)),
            package: package.unwrap(),
            copy,
        }
    }

    // req: LIVE-08
    #[test]
    fn a_new_package_is_the_good_one_when_its_trial_is_over() {
        let mut good = stored(0, 1);
        let mut images = Images::new(Some(good));
        for (size, is_new) in [(2, false), (3, true), (4, true), (5, false), (6, true)] {
            let new = stored(images.spare(), size);
            assert_ne!(new.copy, good.copy);
            images.stage(new);
            assert_eq!(images.new_one(), Some(new));
            assert!(!images.can_go_back());
            images.begin_trial();
            assert_eq!((images.good(), images.can_go_back()), (Some(good), true));
            assert!(images.keeps_buffers());
            images.own_buffers();
            assert!(!images.keeps_buffers());
            images.end_trial(is_new);
            if is_new {
                good = new;
            }
            assert_eq!((images.good(), images.can_go_back()), (Some(good), false));
        }
        images.begin_trial();
        images.end_trial(false);
        assert!(!images.keeps_buffers());
    }
}

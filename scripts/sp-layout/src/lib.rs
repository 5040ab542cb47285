//! TF-A's `sp_layout.json` (`SP_LAYOUT_FILE`) and the SP packages that its entries describe.
//!
//! TF-A's generator (`sp_mk_generator.py`) reads the file and calls `sptool` for each entry. This
//! crate does the same: [`parse`] reads the file, [`pack`] makes a package. The image builder and
//! `cargo xtask manifest check` share it, so that both understand a layout alike.

mod files;
mod hob_list;
mod layout;
mod package;
mod spelling;
mod transfer_list;

pub use files::{MAX_CONFIG, MAX_PACKAGES, find, spmc_manifest, tb_fw_config};
pub use layout::{Entry, Fault, Part, Source, Spanned, parse, position};
pub use package::{Contents, Form, Offsets, Package, pack};
pub use spelling::nearest;

//! The files that belong to a layout.

use std::path::{Path, PathBuf};

/// The most packages that BL2 loads.
pub const MAX_PACKAGES: usize = 8;

/// The bytes that BL2 reserves for each of TOS_FW_CONFIG and TB_FW_CONFIG.
pub const MAX_CONFIG: usize = 4096;

/// Returns the path of the SPMC manifest (TOS_FW_CONFIG) for the layout in `dir`: the layout's own,
/// or that of the folder above, or that of the layout `default` in `layouts`.
pub fn spmc_manifest(dir: &Path, layouts: Option<&Path>) -> Option<PathBuf> {
    let own = [dir.join("spmc.dts"), dir.join("../spmc.dts")];
    let usual = layouts.map(|layouts| layouts.join("default/spmc.dts"));
    own.into_iter().chain(usual).find(|path| path.exists())
}

/// Returns the path of the layout's own TB_FW_CONFIG. If there is none, it is made from the layout.
pub fn tb_fw_config(dir: &Path) -> Option<PathBuf> {
    Some(dir.join("tb_fw_config.dts")).filter(|path| path.exists())
}

/// Returns the path of a file that a layout names: in the layout's folder, or in one of the
/// `others`.
pub fn find(file: &str, dir: &Path, others: &[PathBuf]) -> Option<PathBuf> {
    let mut folders = [dir].into_iter().chain(others.iter().map(PathBuf::as_path));
    folders.find_map(|folder| Some(folder.join(file)).filter(|path| path.exists()))
}

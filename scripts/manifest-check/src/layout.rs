//! A whole layout: the packages that TF-A's generator makes of it, what BL2 loads, and what the
//! SPMC then finds.

use std::fs;
use std::ops::Range;
use std::path::Path;

use sp_layout::{Contents, Entry, Form, MAX_CONFIG, MAX_PACKAGES, Source as Parts, Spanned};
use spmc::addr::{PAGE_SIZE, Pa, PageRange};
use spmc::manifest::boot_info;
use spmc::manifest::config::PartitionConfig;
use spmc::manifest::package::{Lack, NOT_REPLACED, Package};
use spmc::manifest::{ManifestError, Report, validate};

use crate::arguments::Arguments;
use crate::diagnostic::{By, Diagnostics, Place};
use crate::engine::{self, System};
use crate::source::Source;
use crate::spmc_manifest;

const _: () = assert!(
    MAX_PACKAGES <= spmc::limits::MAX_PARTITIONS,
    "BL2 loads more packages than the engine has places for"
);

/// The property of a vmN node that states the address of its package.
const LOAD_ADDRESS: &str = "load_address";

/// A layout that is being judged.
struct Layout<'a> {
    file: &'a Path,
    text: &'a str,
    arguments: &'a Arguments,
}

/// A package as BL2 would load it.
struct Loaded<'a> {
    entry: &'a Entry,
    /// The manifest, where it can be read.
    manifest: Option<Source>,
    bytes: Option<Vec<u8>>,
    /// The address at which BL2 loads the package, and below the place that states this address.
    address: Option<u64>,
    says_so: Place,
    uuid: Option<u128>,
    /// The range of the image in the package, if the image is built.
    image: Option<Range<u64>>,
    /// The name of the image's file, if the image is not built.
    not_built: Option<&'a Spanned<String>>,
}

/// Judges the layout that an `sp_layout.json` describes.
pub fn judge(file: &Path, arguments: &Arguments, diagnostics: &mut Diagnostics) {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            diagnostics.error(By::Layout, Place::whole(file), error.to_string());
            return;
        }
    };
    let layout = Layout {
        file,
        text: &text,
        arguments,
    };
    let dir = file.parent().unwrap_or(Path::new("."));
    let (entries, faults) = sp_layout::parse(&text);
    for fault in faults {
        diagnostics.error(By::Firmware, layout.place(&fault.span), fault.message);
    }
    let mut packages: Vec<_> = entries
        .iter()
        .map(|entry| layout.load(dir, entry, diagnostics))
        .collect();
    layout.judge_packages(&packages, diagnostics);
    if let Some(path) = sp_layout::tb_fw_config(dir)
        && let Some(source) = Source::read(&path, &arguments.includes, diagnostics)
    {
        layout.judge_tb_fw_config(&source, &mut packages, diagnostics);
    }
    let Some(path) = sp_layout::spmc_manifest(dir, arguments.layouts.as_deref()) else {
        let message = "there is no spmc.dts beside it, nor in the folder above";
        diagnostics.error(By::Layout, Place::whole(file), message);
        alone(&packages, diagnostics);
        return;
    };
    match Source::read(&path, &arguments.includes, diagnostics) {
        Some(source) => {
            let system = spmc_manifest::judge(&source, diagnostics);
            layout.judge_partitions(&system, &packages, diagnostics);
        }
        None => alone(&packages, diagnostics),
    }
}

/// Judges each manifest by itself, for a layout without an SPMC manifest.
fn alone(packages: &[Loaded], diagnostics: &mut Diagnostics) {
    for manifest in packages
        .iter()
        .filter_map(|package| package.manifest.as_ref())
    {
        engine::alone(manifest, diagnostics);
    }
}

impl Layout<'_> {
    fn place(&self, span: &Range<usize>) -> Place {
        let (line, column) = sp_layout::position(self.text, span.start);
        let of = self.text.get(span.clone()).unwrap_or("");
        Place {
            file: self.file.to_path_buf(),
            line,
            column,
            length: of.lines().next().map_or(1, |line| line.chars().count()),
        }
    }

    /// Packs an entry as TF-A's generator does, at the address that the generator would pass to
    /// BL2.
    fn load<'e>(&self, dir: &Path, entry: &'e Entry, diagnostics: &mut Diagnostics) -> Loaded<'e> {
        let mut loaded = Loaded {
            entry,
            manifest: None,
            bytes: None,
            address: entry.load_address.as_ref().map(|address| address.value),
            says_so: self.place(match &entry.load_address {
                Some(address) => &address.span,
                None => &entry.name.span,
            }),
            uuid: None,
            image: None,
            not_built: None,
        };
        match &entry.source {
            Parts::File(file) => {
                loaded.bytes = match sp_layout::find(&file.value, dir, &self.arguments.files) {
                    Some(path) => fs::read(path).ok(),
                    None => None,
                };
                if loaded.bytes.is_none() {
                    let message = format!("there is no {}", file.value);
                    diagnostics.error(By::Layout, self.place(&file.span), message);
                }
                for (missing, key) in [
                    (entry.uuid.is_none(), "uuid"),
                    (entry.load_address.is_none(), "physical-load-address"),
                ] {
                    if missing {
                        let message = format!("`{key}` is missing");
                        diagnostics.error(By::Layout, self.place(&entry.name.span), message);
                    }
                }
            }
            Parts::Parts {
                image,
                manifest,
                form,
            } => {
                let find = |file: &str| sp_layout::find(file, dir, &self.arguments.files);
                match find(&manifest.file.value) {
                    Some(path) => {
                        loaded.manifest =
                            Source::read(&path, &self.arguments.includes, diagnostics);
                    }
                    None => {
                        let message = format!("there is no {}", manifest.file.value);
                        diagnostics.error(By::Layout, self.place(&manifest.file.span), message);
                    }
                }
                let bytes = find(&image.file.value).and_then(|path| fs::read(path).ok());
                if bytes.is_none() {
                    loaded.not_built = Some(&image.file);
                }
                self.pack(&mut loaded, *form, bytes, diagnostics);
            }
        }
        if let Some(uuid) = &entry.uuid {
            loaded.uuid = parse_uuid(&uuid.value);
            if loaded.uuid.is_none() {
                let message = format!("`{}` is no UUID", uuid.value);
                diagnostics.error(By::Firmware, self.place(&uuid.span), message);
            }
        }
        loaded
    }

    /// Makes the package. Takes values that the layout leaves out from the manifest.
    fn pack(
        &self,
        loaded: &mut Loaded,
        form: Form,
        image: Option<Vec<u8>>,
        diagnostics: &mut Diagnostics,
    ) {
        let Some(manifest) = &loaded.manifest else {
            return;
        };
        let entry = loaded.entry;
        if loaded.address.is_none() {
            loaded.address = manifest.tree.number("/", "load-address");
            loaded.says_so = manifest.tree.place("/", "load-address");
            if loaded.address.is_none() {
                let message = "neither `physical-load-address` here nor `load-address` of the \
                               manifest says where BL2 loads it";
                diagnostics.error(By::Firmware, self.place(&entry.name.span), message);
            }
        }
        if entry.uuid.is_none() {
            loaded.uuid = manifest_uuid(manifest);
            if loaded.uuid.is_none() {
                let message = "neither `uuid` here nor `uuid` of the manifest names it";
                diagnostics.error(By::Firmware, self.place(&entry.name.span), message);
            }
        }
        let built = image.is_some();
        // One instruction stands for an image that is not built.
        let image = image.unwrap_or_else(|| vec![0; 4]);
        let contents = Contents {
            manifest: &manifest.dtb,
            image: &image,
            load_address: loaded.address.unwrap_or(0),
        };
        match sp_layout::pack(form, entry.offsets(), &contents) {
            Ok(package) => {
                let end = package.image.saturating_add(image.len() as u64);
                loaded.image = built.then_some(package.image..end);
                loaded.bytes = Some(package.bytes);
            }
            Err(why) => {
                let span = match &entry.source {
                    Parts::Parts {
                        image, manifest, ..
                    } => [image, manifest]
                        .into_iter()
                        .find_map(|part| Some(&part.offset.as_ref()?.span)),
                    Parts::File(_) => None,
                };
                let place = self.place(span.unwrap_or(&entry.name.span));
                diagnostics.error(By::Firmware, place, why);
            }
        }
    }

    /// Checks that BL2 can load all packages: there are not too many, and their names differ.
    fn judge_packages(&self, packages: &[Loaded], diagnostics: &mut Diagnostics) {
        let missing: Vec<_> = packages
            .iter()
            .filter_map(|package| package.not_built)
            .collect();
        if let Some(first) = missing.first() {
            let names: Vec<_> = missing.iter().map(|file| file.value.as_str()).collect();
            let message = format!(
                "not built yet, so no sizes are judged: {}",
                names.join(", ")
            );
            diagnostics.warn(By::Layout, self.place(&first.span), message);
        }
        for package in packages.iter().skip(MAX_PACKAGES) {
            let message = format!("BL2 loads at most {MAX_PACKAGES} packages");
            let place = self.place(&package.entry.name.span);
            diagnostics.error(By::Firmware, place, message);
        }
        for (index, package) in packages.iter().enumerate() {
            let mut earlier = packages.iter().take(index);
            let same = |other: &&Loaded| package.uuid.is_some() && other.uuid == package.uuid;
            if let Some(other) = earlier.find(same) {
                let span = package.entry.uuid.as_ref().map(|uuid| &uuid.span);
                let place = self.place(span.unwrap_or(&package.entry.name.span));
                let message = format!("`{}` has the same UUID", other.entry.name.value);
                diagnostics.error(By::Firmware, place, message);
            }
        }
    }

    /// Reads `tb_fw_config`, which tells BL2 what to load and where, even if `sp_layout.json` says
    /// otherwise.
    fn judge_tb_fw_config(
        &self,
        source: &Source,
        packages: &mut [Loaded],
        diagnostics: &mut Diagnostics,
    ) {
        let tree = &source.tree;
        if source.dtb.len() > MAX_CONFIG {
            let size = source.dtb.len();
            let message = format!(
                "TB_FW_CONFIG: expected at most {MAX_CONFIG} bytes as a blob, found {size}"
            );
            diagnostics.error(By::Firmware, Place::whole(&source.path), message);
        }
        let list = tree.nodes().find(|node| {
            let compatible = node.property("compatible");
            compatible.is_some_and(|value| value.has_string("arm,sp"))
        });
        let Some(list) = list else {
            let message = "/secure-partitions: expected a node with compatible \"arm,sp\", \
                           found nothing";
            diagnostics.error(By::Firmware, tree.place("/", ""), message);
            return;
        };
        let mut named = Vec::new();
        for node in tree.nodes().filter(|node| node.parent() == list.path) {
            let mut refuse = |property: &str, expected: &str, found: String| {
                let path = &node.path;
                let message = format!("{path}: {property}: expected {expected}, found {found}");
                diagnostics.error(By::Firmware, tree.place(path, property), message);
            };
            let text = node.property("uuid").map(|uuid| uuid.text());
            let uuid = text.as_deref().and_then(parse_uuid);
            let package = packages.iter_mut().find(|package| package.uuid == uuid);
            match (text, uuid, package) {
                (None, ..) => refuse("uuid", "a UUID as a string", "nothing".into()),
                (Some(text), None, _) => refuse("uuid", "a UUID", format!("\"{text}\"")),
                (Some(text), Some(_), None) => {
                    refuse("uuid", "the UUID of a package", format!("\"{text}\""));
                }
                (_, Some(uuid), Some(package)) => {
                    named.push(uuid);
                    let address = node.property("load-address");
                    match address.map(|address| address.cells()).as_deref() {
                        Some([address]) => {
                            package.address = Some(u64::from(*address));
                            package.says_so = tree.place(&node.path, "load-address");
                        }
                        None => refuse("load-address", "one cell", "nothing".into()),
                        Some(cells) => {
                            refuse("load-address", "one cell", format!("{} cells", cells.len()));
                        }
                    }
                }
            }
        }
        for package in packages.iter() {
            if package.uuid.is_some_and(|uuid| !named.contains(&uuid)) {
                let message = "tb_fw_config.dts does not name it, so BL2 does not load it";
                let place = self.place(&package.entry.name.span);
                diagnostics.error(By::Firmware, place, message);
            }
        }
    }

    /// Checks that each vmN has a package and each package a vmN. Then lets the SPMC judge the
    /// partitions in its order.
    fn judge_partitions(
        &self,
        system: &System,
        packages: &[Loaded],
        diagnostics: &mut Diagnostics,
    ) {
        let tree = &system.source.tree;
        let vms: Vec<_> = tree
            .nodes()
            .filter(|node| node.parent() == "/hypervisor" && node.name().starts_with("vm"))
            .filter_map(|node| Some((node, tree.number(&node.path, LOAD_ADDRESS)?)))
            .collect();
        for (node, address) in &vms {
            if !packages
                .iter()
                .any(|package| package.address == Some(*address))
            {
                let message = format!(
                    "{}: {LOAD_ADDRESS}: no package of the layout is loaded at {address:#x}",
                    node.path
                );
                diagnostics.error(By::Layout, tree.place(&node.path, LOAD_ADDRESS), message);
            }
        }
        for package in packages {
            let Some(address) = package.address else {
                continue;
            };
            if address > u64::from(u32::MAX) {
                let message = format!(
                    "`{}`: load-address: expected an address below 4 GiB, since BL2 reads one \
                     cell, found {address:#x}",
                    package.entry.name.value
                );
                diagnostics.error(By::Firmware, package.says_so.clone(), message);
            }
            if package.entry.staged {
                self.judge_staged(package, address, system, diagnostics);
            } else if !vms.iter().any(|(_, vm)| *vm == address) {
                let message = format!(
                    "`{}` is loaded at {address:#x}, where no vmN of the SPMC manifest is",
                    package.entry.name.value
                );
                diagnostics.error(By::Layout, package.says_so.clone(), message);
            }
        }
        let mut earlier = Vec::new();
        for entry in &system.manifest.partitions {
            let at = entry.memory.base().raw();
            let mut there = packages
                .iter()
                .filter(|package| package.address == Some(at));
            if let Some(package) = there.next() {
                earlier.extend(self.judge_partition(package, system, at, &earlier, diagnostics));
            }
        }
        // Packages whose vmN is refused or missing.
        for package in packages {
            let has_vm = package
                .address
                .is_some_and(|at| system.package_at(at).is_some());
            if let Some(manifest) = package.manifest.as_ref().filter(|_| !has_vm) {
                engine::alone(manifest, diagnostics);
            }
        }
    }

    /// Checks that a staged package lies where the SPMC accepts one: in Secure memory that nobody
    /// has.
    fn judge_staged(
        &self,
        package: &Loaded,
        address: u64,
        system: &System,
        diagnostics: &mut Diagnostics,
    ) {
        let length = package.bytes.as_ref().map_or(1, Vec::len) as u64;
        let memory = PageRange::from_bytes(Pa::new(address), length.next_multiple_of(PAGE_SIZE));
        let report = Report::new();
        let Some(memory) = memory else {
            let message = "a staged package needs a 4 KiB aligned address";
            diagnostics.error(By::Layout, package.says_so.clone(), message);
            return;
        };
        // No place of a partition has this number.
        let nobody = usize::MAX;
        validate::judge_package(nobody, &memory, &system.manifest, &system.image, &report);
        if let Err(fault) = report.verdict() {
            let name = &package.entry.name.value;
            let message = format!("staged `{name}`: {fault}");
            diagnostics.error(By::Layout, package.says_so.clone(), message);
        }
    }

    fn judge_partition(
        &self,
        package: &Loaded,
        system: &System,
        at: u64,
        earlier: &[PartitionConfig],
        diagnostics: &mut Diagnostics,
    ) -> Option<PartitionConfig> {
        let entry = system.package_at(at)?;
        let place = self.place(&package.entry.name.span);
        let mut refuse = |message: String| {
            let message = format!("{}: not started: {message}", entry.name);
            diagnostics.error(By::Spmc, place.clone(), message);
        };
        let bytes = package.bytes.as_ref()?;
        let parsed = match unpack(bytes, entry.memory) {
            Ok(parsed) => Some(parsed),
            Err(Unusable(why)) => {
                refuse(why);
                None
            }
        };
        let packed;
        let manifest = match (&package.manifest, parsed) {
            (Some(manifest), _) => manifest,
            // A package that was packed elsewhere, whose manifest has no source here.
            (None, Some(parsed)) => {
                let from = parsed.manifest_offset() as usize;
                let dtb = bytes.get(from..from + parsed.manifest_size());
                let Some(dtb) = dtb else {
                    refuse("the package ends before its manifest does".into());
                    return None;
                };
                packed = Source {
                    path: self.file.to_path_buf(),
                    dtb: dtb.to_vec(),
                    tree: Default::default(),
                };
                &packed
            }
            (None, None) => return None,
        };
        let mut config = engine::partition(manifest, entry, system, earlier, diagnostics);
        if let Some(parsed) = parsed {
            self.judge_room(&parsed, &mut config, manifest, diagnostics);
        }
        if let Some(image) = &package.image
            && !image.contains(&config.entrypoint_offset)
        {
            let message = format!(
                "/: entrypoint-offset: expected a place in the image, which has {:#x}..{:#x} of \
                 the package, found {:#x}",
                image.start, image.end, config.entrypoint_offset
            );
            let place = manifest.tree.place("/", "entrypoint-offset");
            diagnostics.error(By::Layout, place, message);
        }
        Some(config)
    }
}

impl Layout<'_> {
    /// Checks that the package has room for what its manifest asks for, and reserves the room for
    /// the copies from which the partition is started again.
    fn judge_room(
        &self,
        package: &Package,
        config: &mut PartitionConfig,
        manifest: &Source,
        diagnostics: &mut Diagnostics,
    ) {
        let copy = package.reserve_copies(config).err();
        let boot_info = boot_info::offset_of_manifest(config, package).err();
        for fault in [copy, boot_info].into_iter().flatten() {
            let (node, property) = match fault {
                Lack::RoomForCopy => ("/", "abort-action"),
                Lack::RoomForBootInfo => ("/boot-info", "ffa_manifest"),
                Lack::HobList => ("/boot-info", "hob_list"),
            };
            let message = format!("{}: not started: {fault}", config.name);
            diagnostics.error(By::Spmc, manifest.tree.place(node, property), message);
        }
        if config.live_activation.is_some() && config.copies.len() < 2 {
            let place = manifest.tree.place("/", "live-activation-support");
            diagnostics.warn(By::Spmc, place, format!("{}: {NOT_REPLACED}", config.name));
        }
    }
}

/// The reason why a package cannot be used.
struct Unusable(String);

impl From<ManifestError> for Unusable {
    fn from(error: ManifestError) -> Self {
        Self(error.to_string())
    }
}

/// Parses a package that BL2 would load to the beginning of `memory`.
fn unpack(bytes: &[u8], memory: PageRange<Pa>) -> Result<Package, Unusable> {
    Package::parse(memory, &mut |offset, to| {
        let from = usize::try_from(offset).ok();
        let there = from.and_then(|from| bytes.get(from..)?.get(..to.len()));
        let ends = || Unusable(format!("the package has {} bytes only", bytes.len()));
        to.copy_from_slice(there.ok_or_else(ends)?);
        Ok(())
    })
}

/// Parses a UUID in its text form.
fn parse_uuid(text: &str) -> Option<u128> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let right = digits.len() == 32 && digits.chars().all(|c| c.is_ascii_hexdigit());
    right.then(|| u128::from_str_radix(&digits, 16).ok())?
}

/// Returns the first UUID of a manifest: TF-A writes each of the four words in little-endian order.
fn manifest_uuid(manifest: &Source) -> Option<u128> {
    let cells = manifest.tree.node("/")?.property("uuid")?.cells();
    let words = cells.first_chunk::<4>()?;
    let long = |uuid: u128, word: &u32| uuid << 32 | u128::from(word.swap_bytes());
    Some(words.iter().fold(0, long))
}

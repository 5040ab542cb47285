//! Packages that are transfer lists: packed as TF-A's tools do, and judged as the boot would.

use sp_layout::Form;
use spmc::addr::{Pa, PageRange};
use spmc::manifest::config::PackageEntry;
use spmc::manifest::hob::{self, Image};
use spmc::manifest::package::Package;
use spmc::manifest::{ManifestError, Name, Report, partition_manifest};

use crate::support::Case;

const LOADED: u64 = 0x640_0000;
const MEMORY: u64 = 0x10_0000;
const LIST: Form = Form::TransferList { size: Some(MEMORY) };

/// Asks for a HOB list, with the regions of which one is made.
const HOB_LIST: &str = "gp-register-num = <0>;

	boot-info {
		compatible = \"arm,ffa-manifest-boot-info\";
		hob_list;
	};

	memory-regions {
		compatible = \"arm,ffa-manifest-memory-regions\";

		log {
			load-address-relative-offset = <0x0 0x90000>;
			pages-count = <1>;
			attributes = <0x3>;
		};

		heap {
			load-address-relative-offset = <0x0 0x80000>;
			pages-count = <16>;
			attributes = <0x3>;
		};

		ns_comm_buffer {
			base-address = <0x0 0x80000000>;
			pages-count = <2>;
			attributes = <0xb>;
		};
	};
};";

/// Makes the package of `two` a transfer list, with other values of the layout beside that.
fn list(name: &str, more: &str) -> Case {
    Case::new(name).change(
        "sp_layout.json",
        "\"pm\": \"two.dts\"",
        &format!("\"pm\": \"two.dts\", \"package\": \"tl_pkg\"{more}"),
    )
}

/// Makes the package of `two` a file.
fn file(name: &str) -> Case {
    Case::new(name).change(
        "sp_layout.json",
        "\"image\": \"two.bin\",\n\t\t\"pm\": \"two.dts\"",
        "\"package-file\": \"two.pkg\", \"uuid\": \"d1582309-f023-47b9-827c-4464f5578fc8\",\n\
         \t\t\"physical-load-address\": \"0x6400000\"",
    )
}

/// Adds to the manifest of `two`, in place of its last line.
fn with(case: Case, more: &str) -> Case {
    let text = case.read("two.dts");
    let text = text.trim_end().strip_suffix("};").unwrap();
    case.write("two.dts", format!("{text}\t{more}\n"))
}

// req: PMAN-27
#[test]
fn the_image_is_on_the_page_behind_the_manifest() {
    let case = list("list", "");
    case.has(&[(
        "layout",
        "two.dts",
        "entrypoint-offset",
        "/: entrypoint-offset: expected a place in the image, which has 0x2000..0x2040 of the \
         package, found 0x4000",
    )]);
    let case = case.change("two.dts", "<0x4000>", "<0x2000>");
    assert_eq!(case.judge(&["."]), (0, vec![]));
}

#[test]
fn a_list_that_is_larger_than_it_may_be() {
    list("list_size", ", \"size\": \"0x2000\"").has(&[(
        "firmware",
        "sp_layout.json",
        "\"two\"",
        "the package has 0x2040 bytes, but `size` allows 0x2000 at most",
    )]);
    list("list_memory", ", \"size\": \"0x200000\"")
        .write("two.bin", vec![0; 0x10_0000])
        .has(&[(
            "spmc",
            "sp_layout.json",
            "\"two\"",
            "two: not started: transfer list: used size: expected 24 bytes to mem_size, found \
             0x102000",
        )]);
}

// req: PMAN-28
#[test]
fn damaged_lists() {
    let case = file("list_damaged");
    let good = case.pack(LIST, "two.dts", &[7; 0x3000]);
    let case = case.write("two.pkg", &good);
    assert_eq!(case.judge(&["."]), (0, vec![]));
    let mut damaged = good.clone();
    damaged[0x2001] += 1;
    let case = case.write("two.pkg", &damaged);
    case.has(&[(
        "spmc",
        "sp_layout.json",
        "\"two\"",
        "two: not started: transfer list: checksum: expected bytes whose sum is 0 modulo 256, \
         found 0x1",
    )]);
    case.write("two.pkg", &good[..0x3000])
        .has_messages(&["two: not started: the package has 12288 bytes only"]);
}

// req: BOOT-20, BOOT-22
#[test]
fn hob_lists() {
    let case = with(file("list_hobs"), HOB_LIST).change("two.dts", "<0x4000>", "<0x3000>");
    let good = case.pack(LIST, "two.dts", &[7; 0x3000]);
    let case = case.write("two.pkg", &good);
    assert_eq!(case.judge(&["."]), (0, vec![]));
    let mut lies = good;
    // The length of the volume, and a byte that makes up for it.
    lies[0x2000 + 58] += 1;
    lies[0x3000] -= 1;
    case.write("two.pkg", lies).has_messages(&[
        "two: not started: HOB list: length of a block: expected that of the kind, within the \
         entry, found 0x19",
    ]);
    // No list, and no regions to make one of.
    let bare = with(Case::new("no_hobs"), HOB_LIST).change("two.dts", "\theap {", "\tpile {");
    bare.has(&[(
        "spmc",
        "two.dts",
        "hob_list",
        "two: not started: hob_list needs a HOB list in the package, or regions named heap and \
         ns_comm_buffer to make one of",
    )]);
}

// req: BOOT-19, BOOT-21
#[test]
fn the_tool_writes_the_list_that_the_spmc_would_make() {
    let case = with(Case::new("same_hobs"), HOB_LIST).change("two.dts", "<0x4000>", "<0x3000>");
    let bytes = case.pack(LIST, "two.dts", &[7; 0x2345]);
    let memory = PageRange::from_bytes(Pa::new(LOADED), MEMORY).unwrap();
    let package: Result<Package, ManifestError> = Package::parse(memory, &mut |offset, to| {
        to.copy_from_slice(&bytes[offset as usize..][..to.len()]);
        Ok(())
    });
    let package = package.unwrap();
    let entry = PackageEntry {
        index: 1,
        name: Name::from("two").unwrap(),
        memory,
        vcpu_count: 2,
        smc_whitelist: Vec::new(),
        smc_whitelist_permissive: false,
    };
    let report = Report::new();
    let dtb = &bytes[package.manifest_offset() as usize..][..package.manifest_size()];
    let config = partition_manifest::read(dtb, &entry, &report);
    assert_eq!(report.verdict(), Ok(()));
    let image = Image {
        base: LOADED + package.image_offset(),
        size: package.image_size(),
    };
    let place = package.hob_list().unwrap();
    let mut made = vec![0; 0x1000];
    let address = LOADED + u64::from(place.offset);
    let size = hob::write(&mut made, address, &config, image).unwrap();
    assert_eq!(
        bytes[place.offset as usize..][..place.size as usize],
        made[..size]
    );
}
